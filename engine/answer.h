/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers answer doorbells: of each account that has rung, a few at a time. */
#ifndef VDM_ENGINE_ANSWER_H
#define VDM_ENGINE_ANSWER_H

#include "parts.h"

/*
 * Poll queues whose doorbells have rung, and charge their accounts. The events are those of
 * doorbells_wait(). Bells that are not taken ring on. Holding the crew's lock, which is given up
 * meanwhile.
 */
void answer_doorbells(struct engine *engine, const struct epoll_event *events, int count);

#endif
