/* SPDX-License-Identifier: BSD-3-Clause */
/* Noticing the hang-up of a daemon without a sleep. */
#ifndef VDM_CLIENT_RING_HANGUP_H
#define VDM_CLIENT_RING_HANGUP_H

#include "ring.h"

/*
 * Now and then, see whether the daemon has hung up: for a caller that has found too little and does
 * not sleep, or has carried out what the daemon had not begun or does not know.
 *
 * A ring with nothing in flight looks only if it is `outside`. Regions have the numbers of the
 * client's latest connection. A ring that has missed the change of daemons knows none of them, and
 * what runs in this process for that reason would never tell it.
 */
void ring_look_for_hangup(struct vdm_ring *ring);

#endif
