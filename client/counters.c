/* SPDX-License-Identifier: BSD-3-Clause */
#include "counters.h"

void counters_add(struct ring_counters *sum, const struct ring_counters *more)
{
	/* relaxed: figures, which order nothing; partner: ring_count() */
#define ADD(field) ring_count(&sum->field, atomic_load_explicit(&more->field, memory_order_relaxed))
	ADD(offloaded);
	ADD(offloaded_bytes);
	ADD(local_small);
	ADD(local_outside);
	ADD(local_disconnected);
	ADD(taken_back);
	ADD(local_bytes);
	ADD(file_operations);
	ADD(file_bytes);
	ADD(file_offloaded);
	ADD(failed);
	ADD(doorbells);
	ADD(sleeps);
	ADD(reconnects);
	ADD(repeated);
	ADD(recovered_here);
	ADD(refused);
#undef ADD
}
