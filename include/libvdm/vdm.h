/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtual data mover: memory operations as futures, independent of what carries them out.
 * Header-only; movers.h has the movers.
 */
#ifndef LIBVDM_VDM_H
#define LIBVDM_VDM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "future.h"

#ifdef __cplusplus
extern "C" {
#endif

struct vdm;

enum vdm_operation_type {
	VDM_OPERATION_MEMCPY,
	VDM_OPERATION_MEMMOVE,
	VDM_OPERATION_MEMSET,
	VDM_OPERATION_FLUSH
};

enum vdm_operation_result {
	VDM_SUCCESS,
	VDM_ERROR_OUT_OF_MEMORY, /* too many operations exist: finish some first */
	VDM_ERROR_JOB_CORRUPTED  /* not carried out, or not wholly: the destination is undefined */
};

/* Complete when durable. Only movers that say so can do this, see vdm_is_supported(): the one of
 * data_mover_daemon_new() if the destination lies in a region of vdm_region_open_file(). */
#define VDM_F_MEM_DURABLE (1u << 0)
/* The destination will not be read soon: write around the cache. */
#define VDM_F_NO_CACHE_HINT (1u << 1)
#define VDM_F_VALID_FLAGS   (VDM_F_MEM_DURABLE | VDM_F_NO_CACHE_HINT)

struct vdm_operation_data_memcpy {
	void *dest;
	void *src;
	size_t n;
	uint64_t flags;
};

struct vdm_operation_data_memmove {
	void *dest;
	void *src;
	size_t n;
	uint64_t flags;
};

struct vdm_operation_data_memset {
	void *str;
	int c;
	size_t n;
	uint64_t flags;
};

struct vdm_operation_data_flush {
	void *dest;
	size_t n;
	uint64_t flags;
};

#define VDM_OPERATION_DATA_MAX_SIZE 40

struct vdm_operation {
	union {
		struct vdm_operation_data_memcpy memcpy;
		struct vdm_operation_data_memmove memmove;
		struct vdm_operation_data_memset memset;
		struct vdm_operation_data_flush flush;
		uint8_t data[VDM_OPERATION_DATA_MAX_SIZE];
	} data;
	enum vdm_operation_type type;
	uint32_t padding;
};

struct vdm_operation_data {
	void *data; /* the mover's */
	struct vdm *vdm;
	struct vdm_operation operation;
};

struct vdm_operation_output_memcpy {
	void *dest;
};

struct vdm_operation_output_memmove {
	void *dest;
};

struct vdm_operation_output_memset {
	void *str;
};

struct vdm_operation_output_flush {
	uint64_t unused;
};

struct vdm_operation_output {
	enum vdm_operation_type type;
	enum vdm_operation_result result;
	union {
		struct vdm_operation_output_memcpy memcpy;
		struct vdm_operation_output_memmove memmove;
		struct vdm_operation_output_memset memset;
		struct vdm_operation_output_flush flush;
	} output;
};

FUTURE(vdm_operation_future, struct vdm_operation_data, struct vdm_operation_output);

/*
 * What a mover implements. op_new returns the mover's part of an operation, or NULL when there are
 * too many. op_start returns 0 once the operation has been started, and anything else to be called
 * again at the next poll. op_check then returns RUNNING or COMPLETE. op_delete ends a complete
 * operation and fills in its output.
 */
typedef void *(*vdm_operation_new)(struct vdm *vdm, const enum vdm_operation_type type);
typedef int (*vdm_operation_start)(void *data, const struct vdm_operation *operation,
				   struct future_notifier *notifier);
typedef enum future_state (*vdm_operation_check)(void *data, const struct vdm_operation *operation);
typedef void (*vdm_operation_delete)(void *data, const struct vdm_operation *operation,
				     struct vdm_operation_output *output);

struct vdm {
	vdm_operation_new op_new;
	vdm_operation_delete op_delete;
	vdm_operation_start op_start;
	vdm_operation_check op_check;
	unsigned capabilities; /* VDM_F_* that it honours, and VDM_CAPABILITY_* */
	future_has_property_fn has_property;
};

/* op_start may be called again while an operation runs, to have another notifier take effect. */
#define VDM_CAPABILITY_RENOTIFY (1u << 31)
/* op_delete may be called for an operation that has not been started. */
#define VDM_CAPABILITY_SKIP (1u << 30)

/* Whether all the bits of `capability` (VDM_F_*) are honoured. */
static inline int vdm_is_supported(struct vdm *vdm, unsigned capability)
{
	return (vdm->capabilities & capability) == capability;
}

/* Replace the function that tells the properties of an operation. NULL: no change. */
static inline void vdm_set_has_property_fn(struct vdm_operation_future *future,
					   future_has_property_fn has_property)
{
	if (has_property)
		future->base.has_property = has_property;
}

/* The task of an operation. */
static inline enum future_state vdm_operation_impl(struct future_context *context,
						   struct future_notifier *notifier)
{
	struct vdm_operation_data *data =
		(struct vdm_operation_data *)future_context_get_data(context);
	struct vdm *vdm = data->vdm;

	if (context->state == FUTURE_STATE_COMPLETE && context->padding == VDM_FUTURE_HOLDS) {
		/* the program has set the future's own output */
		struct vdm_operation_output unused;

		vdm->op_delete(data->data, &data->operation, &unused);
		context->padding = 0;
		return FUTURE_STATE_COMPLETE;
	}
	if (context->state == FUTURE_STATE_IDLE) {
		if (vdm->op_start(data->data, &data->operation, notifier) != 0)
			return FUTURE_STATE_IDLE;
	} else if (notifier && (vdm->capabilities & VDM_CAPABILITY_RENOTIFY)) {
		vdm->op_start(data->data, &data->operation, notifier);
	}

	enum future_state state = vdm->op_check(data->data, &data->operation);

	if (state == FUTURE_STATE_COMPLETE) {
		vdm->op_delete(data->data, &data->operation,
			       (struct vdm_operation_output *)future_context_get_output(context));
		context->padding = 0;
		/* the next future of a chain may have nothing to notify, and not set this */
		if (notifier)
			notifier->notifier_used = FUTURE_NOTIFIER_NONE;
	}
	return state;
}

/* Make a future of a filled-in operation. It is complete at once if too many exist. */
static inline void vdm_generic_operation(struct vdm *vdm, struct vdm_operation_future *future)
{
	enum vdm_operation_type type = future->data.operation.type;

	future->data.vdm = vdm;
	future->data.data = vdm->op_new(vdm, type);
	if (future->data.data) {
		FUTURE_INIT(future, vdm_operation_impl);
		vdm_set_has_property_fn(future, vdm->has_property);
		if (vdm->capabilities & VDM_CAPABILITY_SKIP)
			future->base.context.padding = VDM_FUTURE_HOLDS;
		return;
	}
	FUTURE_INIT_COMPLETE(future);
	future->output.type = type;
	future->output.result = VDM_ERROR_OUT_OF_MEMORY;
}

/*
 * Futures of operations. Nothing happens before the first poll, which reads pointers, length and
 * flags. The memory and the mover have to stay until the future is complete. `flags` are VDM_F_*.
 */
static inline struct vdm_operation_future vdm_memcpy(struct vdm *vdm, void *dest, void *src,
						     size_t n, uint64_t flags)
{
	struct vdm_operation_future future;

	memset(&future, 0, sizeof future);
	future.data.operation.type = VDM_OPERATION_MEMCPY;
	future.data.operation.data.memcpy.dest = dest;
	future.data.operation.data.memcpy.src = src;
	future.data.operation.data.memcpy.n = n;
	future.data.operation.data.memcpy.flags = flags;
	vdm_generic_operation(vdm, &future);
	return future;
}

/* The ranges may overlap. */
static inline struct vdm_operation_future vdm_memmove(struct vdm *vdm, void *dest, void *src,
						      size_t n, uint64_t flags)
{
	struct vdm_operation_future future;

	memset(&future, 0, sizeof future);
	future.data.operation.type = VDM_OPERATION_MEMMOVE;
	future.data.operation.data.memmove.dest = dest;
	future.data.operation.data.memmove.src = src;
	future.data.operation.data.memmove.n = n;
	future.data.operation.data.memmove.flags = flags;
	vdm_generic_operation(vdm, &future);
	return future;
}

/* As memset(3), `c` is converted to unsigned char. */
static inline struct vdm_operation_future vdm_memset(struct vdm *vdm, void *str, int c, size_t n,
						     uint64_t flags)
{
	struct vdm_operation_future future;

	memset(&future, 0, sizeof future);
	future.data.operation.type = VDM_OPERATION_MEMSET;
	future.data.operation.data.memset.str = str;
	future.data.operation.data.memset.c = c;
	future.data.operation.data.memset.n = n;
	future.data.operation.data.memset.flags = flags;
	vdm_generic_operation(vdm, &future);
	return future;
}

/* Complete after all operations of the mover that were started before. If the range lies in a
 * region of a file, what they have written to it is durable then. */
static inline struct vdm_operation_future vdm_flush(struct vdm *vdm, void *dest, size_t n,
						    uint64_t flags)
{
	struct vdm_operation_future future;

	memset(&future, 0, sizeof future);
	future.data.operation.type = VDM_OPERATION_FLUSH;
	future.data.operation.data.flush.dest = dest;
	future.data.operation.data.flush.n = n;
	future.data.operation.data.flush.flags = flags;
	vdm_generic_operation(vdm, &future);
	return future;
}

#ifdef __cplusplus
}
#endif
#endif
