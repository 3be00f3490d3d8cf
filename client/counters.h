/* SPDX-License-Identifier: BSD-3-Clause */
/* What a ring has done. The ring's thread alone writes its counters, any thread may read them. */
#ifndef VDM_CLIENT_COUNTERS_H
#define VDM_CLIENT_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

struct ring_counters {
	LIST_ENTRY(ring_counters) entry; /* vdm_client::counters */
	_Atomic uint64_t offloaded, offloaded_bytes;
	_Atomic uint64_t local_small, local_outside, local_disconnected, local_bytes, taken_back;
	_Atomic uint64_t file_operations, file_bytes, file_offloaded;
	_Atomic uint64_t failed, doorbells, sleeps;
	_Atomic uint64_t reconnects, repeated, recovered_here, refused;
};

/* A counter with one writer needs no locked instruction. relaxed; partner: counters_add(). */
static inline void ring_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* Add `more` to `sum`, which no other thread uses or a lock guards. */
void counters_add(struct ring_counters *sum, const struct ring_counters *more);

#endif
