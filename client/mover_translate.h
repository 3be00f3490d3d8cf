/* SPDX-License-Identifier: BSD-3-Clause */
/* From the operations of libvdm/vdm.h to entries of a ring, and back. */
#ifndef VDM_CLIENT_MOVER_TRANSLATE_H
#define VDM_CLIENT_MOVER_TRANSLATE_H

#include <stdbool.h>

#include "libvdm/ring.h"
#include "libvdm/vdm.h"

/* Fill in an entry. What the library does not know becomes an entry that a ring refuses. With
 * `written_back`, the mover itself sees to it that the operation is durable. */
void translate_operation(const struct vdm_operation *operation, bool written_back,
			 struct vdm_sqe *sqe);

/* The output of an operation that has ended with `result`, 0 or a negative errno. */
void translate_result(const struct vdm_operation *operation, int result,
		      struct vdm_operation_output *output);

#endif
