/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_MOVER_LIFE_H
#define VDM_CLIENT_MOVER_LIFE_H

#include "mover.h"

/*
 * Set up a mover with `rings` rings. The mover owns them afterwards, also on failure. Returns 0 or
 * a negative errno with its sentence.
 */
int mover_init(struct mover *mover, struct vdm_ring *const ring[], unsigned rings,
	       enum future_notifier_type notifier);

/* Close its rings and free its memory: in mover_delete()'s `release`, or after a failure. */
void mover_fini(struct mover *mover);

/*
 * Finish what is in flight, call the wakers, stop the thread, and have `release` free the mover. If
 * one of the mover's wakers calls this, `release` is called later, by the mover's thread. In a
 * forked child nothing is finished.
 */
void mover_delete(struct mover *mover, void (*release)(struct mover *));

#endif
