/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIBMINIASYNC_DATA_MOVER_SYNC_H
#define LIBMINIASYNC_DATA_MOVER_SYNC_H

#include "../../libvdm/movers.h"

#endif
