/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mover whose daemon has gone connects to the next one. Its ring was lost with the daemon. A new
 * ring of the same client replaces it as soon as the lost ring is empty. Until then operations take
 * the local lane.
 */
#ifndef VDM_CLIENT_MOVER_RECONNECT_H
#define VDM_CLIENT_MOVER_RECONNECT_H

#include "mover.h"

/* Now and then, see whether the daemon has gone, and if so try to replace the lost ring. The caller
 * holds the lock, which is released during an attempt to connect. */
void mover_reconnect(struct mover *mover);

#endif
