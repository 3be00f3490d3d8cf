/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend_cpu.h"

#include "run.h"

/* Bytes between two looks whether to stop: 0.25 us at 16 GB/s. */
#define LOOK_BYTES ((size_t)4 << 10)

static bool cpu_supports(const struct backend *backend, const struct operation *operation)
{
	(void)backend;
	(void)operation;
	return true;
}

static int cpu_submit(struct backend *backend, struct backend_request *request)
{
	const struct kernels *kernels = &((struct cpu_backend *)backend)->kernels;
	const struct operation *operation = request->operation;
	unsigned flags =
		operation_kernel_flags(operation, kernels) | (kernels->own ? 0 : KERNEL_UNSETTLED);

	do {
		size_t left = request->length - request->done;
		size_t part = request->interrupted && left > LOOK_BYTES ? LOOK_BYTES : left;
		size_t from = request->backward ? left - part : request->done;

		operation_run(operation, request->offset + from, part, kernels, flags);
		request->done += part;
	} while (request->done < request->length &&
		 !(request->interrupted && request->interrupted(request)));
	kernels_settle();
	return 0;
}

void cpu_backend_init(struct cpu_backend *cpu, const struct kernels *kernels)
{
	const struct kernels *standard = kernels_default();

	cpu->backend = (struct backend){cpu_supports, cpu_submit};
	cpu->kernels = *kernels;
	cpu->kernels.own = kernels->copy || kernels->move || kernels->set;
	if (!kernels->copy)
		cpu->kernels.copy = standard->copy;
	if (!kernels->move)
		cpu->kernels.move = standard->move;
	if (!kernels->set)
		cpu->kernels.set = standard->set;
}
