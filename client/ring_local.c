/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_local.h"

#include <errno.h>

#include "entry.h"
#include "op/run.h"
#include "ring_report.h"
#include "ring_signal.h"

int ring_run_entry(struct vdm_ring *ring, const struct vdm_sqe *sqe, _Atomic uint64_t *counter)
{
	const uint64_t bytes = entry_bytes(sqe);

	if ((entry_facts(sqe) & OP_WRITES) &&
	    region_view_forbids(&ring->view, sqe->dest, sqe->length))
		return -EACCES; /* the daemon's answer; a store here would raise SIGSEGV */
	entry_run(sqe);
	ring_count(counter, 1);
	if (counter != &ring->counters.taken_back)
		ring_count(&ring->counters.local_bytes, bytes);
	return 0;
}

int ring_check_memory(const struct vdm_ring *ring, const struct vdm_sqe *sqe, uint32_t newest)
{
	struct region_table *table = &ring->client->regions;
	const unsigned facts = entry_facts(sqe);
	bool known = true;

	if (facts & OP_WRITES)
		known = region_table_holds(table, newest, sqe->dest, sqe->length);
	if (known && (facts & OP_SOURCE))
		known = region_table_holds(table, newest, sqe->src, sqe->length);
	return known ? 0 : -EFAULT;
}

void ring_complete_entry(struct vdm_ring *ring, int result)
{
	struct pending *pending = ring_pending(ring, ring->dispatched);

	ring->dispatched++;
	ring_report(ring, pending, result == 0 ? entry_bytes(&pending->sqe) : 0, result);
	if (ring->poll_fd >= 0 && ring->armed)
		ring_signal_self(ring);
}

static const struct region_extent *extent_of(const struct vdm_ring *ring, uint32_t id)
{
	for (uint32_t i = 0; i < ring->view.count; i++)
		if (ring->view.extents[i].id == id)
			return &ring->view.extents[i];
	return NULL;
}

bool ring_translate(struct vdm_ring *ring, uint32_t position, struct operation *operation)
{
	const struct vdm_descriptor *d = ring_descriptor(ring, position);
	const uint8_t facts = opcode_facts[d->opcode];
	const bool has_source = facts & OP_SOURCE;

	region_view_refresh(&ring->view, &ring->client->regions, ring->connection);

	const struct region_extent *to = extent_of(ring, d->destination_region);
	const struct region_extent *from = has_source ? extent_of(ring, d->source_region) : NULL;

	if (!(facts & OP_WRITES) || !to || !to->writable || (has_source && !from))
		return false;
	*operation = (struct operation){
		.destination = (char *)(to->begin + d->destination_offset),
		.source = has_source ? (const char *)(from->begin + d->source_offset) : NULL,
		.length = d->length,
		.flags = d->flags,
		.opcode = d->opcode,
		.facts = facts,
		.fill = (uint8_t)d->pattern,
	};
	return true;
}

void ring_run_taken_back(struct vdm_ring *ring, const struct operation *operation)
{
	const struct kernels *kernels = kernels_default();

	operation_run(operation, 0, operation->length, kernels,
		      operation_kernel_flags(operation, kernels));
	ring_count(&ring->counters.taken_back, 1);
}
