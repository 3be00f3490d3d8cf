/* SPDX-License-Identifier: BSD-3-Clause */
#include "sender.h"

/* While one worker tries whether signals are quick again, others pass them on for so long. */
#define TRIAL_NS 1000000000ull

static uint64_t get(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static void set(_Atomic uint64_t *value, uint64_t to)
{
	atomic_store_explicit(value, to, memory_order_relaxed);
}

bool sender_passes_on(struct sender *sender, uint64_t now)
{
	uint64_t until = get(&sender->pass_until);

	if (until == 0)
		return false;
	if (now < until)
		return true;
	/* the worker that replaces it tries */
	return !atomic_compare_exchange_strong_explicit(&sender->pass_until, &until, now + TRIAL_NS,
							memory_order_relaxed, memory_order_relaxed);
}

static uint64_t next_pause(const struct sender *sender, uint64_t begin)
{
	const uint64_t last = get(&sender->pause);

	if (last == 0 || begin - get(&sender->last_slow) >= SENDER_FORGIVEN_NS)
		return SENDER_FIRST_PAUSE_NS;
	return last < SENDER_MOST_PAUSE_NS ? 2 * last : last;
}

void sender_took(struct sender *sender, uint64_t begin, uint64_t end)
{
	uint64_t trial = begin + TRIAL_NS;

	if (end - begin > SENDER_SLOW_NS) {
		const uint64_t pause = next_pause(sender, begin);

		set(&sender->pause, pause);
		set(&sender->last_slow, begin);
		set(&sender->pass_until, end + pause);
	} else if (get(&sender->pass_until) == trial) {
		/* unless another worker's signal was slow meanwhile */
		atomic_compare_exchange_strong_explicit(&sender->pass_until, &trial, 0,
							memory_order_relaxed, memory_order_relaxed);
	}
}
