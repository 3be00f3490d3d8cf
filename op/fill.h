/* SPDX-License-Identifier: BSD-3-Clause */
/* memset. */
#ifndef VDM_OP_FILL_H
#define VDM_OP_FILL_H

#include "operation.h"

static inline void run_memset(const struct operation *operation, size_t offset, size_t length,
			      const struct kernels *kernels, unsigned flags)
{
	kernels->set(operation->destination + offset, operation->fill, length, flags);
}

#endif
