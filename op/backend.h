/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A backend carries out parts of operations: on the thread that submits them, as the CPU does, or
 * later, while no thread waits. Small operations bypass this interface, see operation_run().
 */
#ifndef VDM_OP_BACKEND_H
#define VDM_OP_BACKEND_H

#include "operation.h"

struct backend_request {
	const struct operation *operation; /* outlives the request */
	size_t offset, length;             /* which part of it, in bytes */
	bool backward; /* its ranges overlap: carry it out from the end to the beginning */
	size_t done;   /* bytes of the part that have been carried out; by the backend */
	int32_t error; /* 0 or a negative errno; by the backend */
	/* Asked now and then by submit(): whether to stop early. NULL: never. */
	bool (*interrupted)(struct backend_request *request);
	/* Called once for a request that submit() left in progress: by any thread, with no lock
	 * held. */
	void (*completed)(struct backend_request *request);
	void *owner; /* for these two */
};

struct backend {
	/* Whether it can carry out the operation. The first backend that can is given it. */
	bool (*supports)(const struct backend *backend, const struct operation *operation);
	/*
	 * Carry out what is left of the request. It neither blocks nor computes for long, unless it
	 * asks interrupted(). Returns 0 when that is done, has failed or was interrupted, as `done`
	 * and `error` tell; or -EINPROGRESS, and then completed() is or will be called. By then all
	 * of it is done, unless there is an error.
	 */
	int (*submit)(struct backend *backend, struct backend_request *request);
};

#endif
