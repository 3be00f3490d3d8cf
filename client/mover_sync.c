/* SPDX-License-Identifier: BSD-3-Clause */
/* The mover of the calling thread: one without a ring. */
#include <errno.h>
#include <stdlib.h>

#include "cancellation.h"
#include "error.h"
#include "mover_life.h"

struct data_mover_sync {
	struct mover mover; /* first */
};

struct data_mover_sync *data_mover_sync_new(void)
{
	WITHOUT_CANCELLATION;
	struct data_mover_sync *mover = calloc(1, sizeof *mover);

	if (!mover) {
		fail(-ENOMEM, "out of memory");
		return NULL;
	}
	if (mover_init(&mover->mover, NULL, 0, FUTURE_NOTIFIER_NONE) < 0) {
		free(mover);
		return NULL;
	}
	return mover;
}

struct vdm *data_mover_sync_get_vdm(struct data_mover_sync *mover)
{
	return &mover->mover.vdm;
}

static void release(struct mover *mover)
{
	mover_fini(mover);
	free(mover);
}

void data_mover_sync_delete(struct data_mover_sync *mover)
{
	if (mover)
		mover_delete(&mover->mover, release);
}
