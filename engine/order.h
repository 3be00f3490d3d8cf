/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fences and links of a ring. An operation that waits for all earlier ones is taken and kept until
 * they have completed; later ones stay in the ring meanwhile. Belongs to the holder of the queue's
 * lease.
 */
#ifndef VDM_ENGINE_ORDER_H
#define VDM_ENGINE_ORDER_H

#include <errno.h>

#include "op/operation.h"

struct order {
	bool fenced;       /* `next` waits for earlier operations to complete */
	bool chained;      /* the operation taken last had VDM_DESCRIPTOR_LINK */
	bool chain_failed; /* the last linked operation that completed had failed */
	struct operation next;
};

/* An operation that was just taken: whether it may begin, when `earlier` are in flight. If not, it
 * is kept. */
static inline bool order_admit(struct order *order, struct operation *operation, uint32_t earlier)
{
	const unsigned links = operation->flags & VDM_DESCRIPTOR_LINK;
	const unsigned waits = (operation->flags & VDM_DESCRIPTOR_FENCE) |
			       (operation->facts & OP_ORDERED) | order->chained;

	if (!(links | waits)) /* mostly */
		return true;
	operation->linked = order->chained;
	order->chained = links != 0;
	if (!waits || earlier == 0)
		return true;
	order->next = *operation;
	order->fenced = true;
	return false;
}

/* An operation begins: if it follows one in a chain that failed, it is cancelled. */
static inline void order_begin(const struct order *order, struct operation *operation)
{
	if (operation->linked && order->chain_failed)
		operation->error = -ECANCELED;
}

static inline void order_completed(struct order *order, const struct operation *operation,
				   int32_t error)
{
	if (operation->flags & VDM_DESCRIPTOR_LINK)
		order->chain_failed = error != 0;
}

#endif
