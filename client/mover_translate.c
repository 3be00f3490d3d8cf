/* SPDX-License-Identifier: BSD-3-Clause */
#include "mover_translate.h"

#include <errno.h>

void translate_operation(const struct vdm_operation *operation, bool written_back,
			 struct vdm_sqe *sqe)
{
	const struct vdm_operation_data_memcpy *copy = &operation->data.memcpy;
	const struct vdm_operation_data_memset *set = &operation->data.memset;
	const struct vdm_operation_data_flush *flush = &operation->data.flush;
	uint64_t flags = 0;

	switch (operation->type) {
	case VDM_OPERATION_MEMCPY:
		vdm_prep_memcpy(sqe, copy->dest, copy->src, copy->n, 0);
		flags = copy->flags;
		break;
	case VDM_OPERATION_MEMMOVE: /* its data are laid out as memcpy's */
		vdm_prep_memmove(sqe, copy->dest, copy->src, copy->n, 0);
		flags = copy->flags;
		break;
	case VDM_OPERATION_MEMSET:
		vdm_prep_memset(sqe, set->str, set->c, set->n, 0);
		flags = set->flags;
		break;
	case VDM_OPERATION_FLUSH:
		vdm_prep_flush(sqe, flush->dest, flush->n, 0);
		flags = flush->flags;
		break;
	default:
		sqe->opcode = UINT8_MAX;
	}
	if (flags & VDM_F_NO_CACHE_HINT)
		sqe->flags |= VDM_SQE_NO_CACHE;
	if ((flags & VDM_F_MEM_DURABLE) && !written_back)
		sqe->flags |= VDM_SQE_DURABLE; /* a ring refuses it, unless it is for a file */
	if (flags & ~(uint64_t)VDM_F_VALID_FLAGS)
		sqe->flags |= 1u << 15; /* reserved */
}

void translate_result(const struct vdm_operation *operation, int result,
		      struct vdm_operation_output *output)
{
	output->type = operation->type;
	output->result = result == 0         ? VDM_SUCCESS
			 : result == -ENOMEM ? VDM_ERROR_OUT_OF_MEMORY
					     : VDM_ERROR_JOB_CORRUPTED;
	switch (operation->type) {
	case VDM_OPERATION_MEMCPY:
		output->output.memcpy.dest = operation->data.memcpy.dest;
		break;
	case VDM_OPERATION_MEMMOVE:
		output->output.memmove.dest = operation->data.memmove.dest;
		break;
	case VDM_OPERATION_MEMSET:
		output->output.memset.str = operation->data.memset.str;
		break;
	case VDM_OPERATION_FLUSH:
		output->output.flush.unused = 0;
		break;
	}
}
