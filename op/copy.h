/* SPDX-License-Identifier: BSD-3-Clause */
/* memcpy and memmove. */
#ifndef VDM_OP_COPY_H
#define VDM_OP_COPY_H

#include "operation.h"

static inline void run_memmove(const struct operation *operation, size_t offset, size_t length,
			       const struct kernels *kernels, unsigned flags)
{
	kernels->move(operation->destination + offset, operation->source + offset, length, flags);
}

static inline void run_memcpy(const struct operation *operation, size_t offset, size_t length,
			      const struct kernels *kernels, unsigned flags)
{
	/* memcpy(3) of overlapping ranges is undefined; a daemon has no undefined operations */
	if (operation_overlaps(operation))
		run_memmove(operation, offset, length, kernels, flags);
	else
		kernels->copy(operation->destination + offset, operation->source + offset, length,
			      flags);
}

#endif
