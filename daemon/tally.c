/* SPDX-License-Identifier: BSD-3-Clause */
#include "tally.h"

#include <assert.h>

#include "op/files.h"

void tally_add(struct vdm_report_counters *sum, const struct vdm_report_counters *more)
{
	for (unsigned i = 0; i < VDM_STATUS_OPCODES; i++)
		sum->operations[i] += more->operations[i];
	sum->failed += more->failed;
	sum->bytes += more->bytes;
}

void tally_add_files(struct vdm_report_files *sum, const struct files_counters *more)
{
	/* relaxed; partner: op/files.c */
	sum->operations += atomic_load_explicit(&more->operations, memory_order_relaxed);
	sum->bytes += atomic_load_explicit(&more->bytes, memory_order_relaxed);
	sum->syncs += atomic_load_explicit(&more->syncs, memory_order_relaxed);
}

void tally_add_engine(struct vdm_report_counters *sum, const struct engine_counters *more)
{
	tally_add_difference(sum, &(struct engine_counters){0}, more);
}

void tally_add_difference(struct vdm_report_counters *sum, const struct engine_counters *before,
			  const struct engine_counters *after)
{
	static_assert(sizeof before->operations == sizeof sum->operations,
		      "one counter for each opcode");
	for (unsigned i = 0; i < VDM_STATUS_OPCODES; i++)
		sum->operations[i] += after->operations[i] - before->operations[i];
	sum->failed += after->failed - before->failed;
	sum->bytes += after->bytes - before->bytes;
}
