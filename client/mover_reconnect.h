/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mover whose daemon has gone uses the next one. Its ring has been lost with the daemon, so a fresh one of the same
 * client takes its place, once nothing is in the lost one any more. Operations take the local lane meanwhile.
 */
#ifndef VDM_CLIENT_MOVER_RECONNECT_H
#define VDM_CLIENT_MOVER_RECONNECT_H

#include "mover.h"

/* Now and then, see whether the daemon has gone, and if so put a ring to another one in the place of the lost one. The
 * caller holds the lock, which is released during a connection attempt. */
void mover_reconnect(struct mover *mover);

#endif
