/* SPDX-License-Identifier: BSD-3-Clause */
#include "account.h"

#include <errno.h>
#include <stdlib.h>

int account_new(struct engine_account **account)
{
	struct engine_account *a = calloc(1, sizeof *a);

	if (!a)
		return -ENOMEM;

	int result = bells_open(&a->bells);

	if (result) {
		free(a);
		return result;
	}
	wait_init(&a->wait);
	for (unsigned i = 0; i < PRIORITIES; i++) {
		TAILQ_INIT(&a->queues[i].ready);
		TAILQ_INIT(&a->queues[i].idle);
	}
	atomic_init(&a->most_in_flight, UINT64_MAX);
	a->weight = ORDINARY_WEIGHT;
	*account = a;
	return 0;
}

void engine_account_set_in_flight(struct engine_account *account, uint64_t bytes)
{
	atomic_store_explicit(&account->most_in_flight, bytes, memory_order_relaxed);
}

void account_free(struct engine_account *account)
{
	bells_close(&account->bells);
	wait_destroy(&account->wait);
	free(account);
}

int account_charge(struct engine_account *account, uint64_t bytes)
{
	uint64_t before =
		atomic_fetch_add_explicit(&account->in_flight, bytes, memory_order_relaxed);
	uint64_t most = atomic_load_explicit(&account->most_in_flight, memory_order_relaxed);

	/* a sum of lengths of regions that are mapped: it cannot wrap */
	if (before + bytes <= most)
		return 0;
	account_release(account, bytes);
	return -EDQUOT;
}

void account_release(struct engine_account *account, uint64_t bytes)
{
	atomic_fetch_sub_explicit(&account->in_flight, bytes, memory_order_relaxed);
}
