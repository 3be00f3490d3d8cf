/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_MOVER_OPERATIONS_H
#define VDM_CLIENT_MOVER_OPERATIONS_H

#include <stdbool.h>

#include "libvdm/vdm.h"

/* What futures call for the operations of a mover. With rings they are asynchronous, else they run
 * when started. */
struct vdm mover_operations(bool with_rings);

#endif
