/* SPDX-License-Identifier: BSD-3-Clause */
/* The backend that can do everything: the copy kernels, on the thread that submits. */
#ifndef VDM_OP_BACKEND_CPU_H
#define VDM_OP_BACKEND_CPU_H

#include "backend.h"

struct cpu_backend {
	struct backend backend;
	struct kernels kernels;
};

/* NULL members of `kernels` stand for the kernels of this CPU. */
void cpu_backend_init(struct cpu_backend *cpu, const struct kernels *kernels);

#endif
