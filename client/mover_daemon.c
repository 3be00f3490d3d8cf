/* SPDX-License-Identifier: BSD-3-Clause */
/* The mover through vdmd: a connection and a ring. */
#include <errno.h>
#include <stdlib.h>

#include "cancellation.h"
#include "client.h"
#include "error.h"
#include "mover_life.h"

struct data_mover_daemon {
	struct mover mover; /* first */
	struct vdm_client *client;
	bool owned; /* the mover closes the client */
};

static struct data_mover_daemon *open_mover(struct vdm_client *client, bool owned)
{
	struct data_mover_daemon *mover = calloc(1, sizeof *mover);
	struct vdm_ring *ring = NULL;

	if (!mover) {
		fail(-ENOMEM, "out of memory");
		return NULL;
	}

	int result = vdm_ring_open(client, NULL, &ring);

	if (!result) {
		const uint32_t flags = client->options.flags;
		enum future_notifier_type notifier =
			flags & VDM_OPTION_NOTIFY_NONE     ? FUTURE_NOTIFIER_NONE
			: flags & VDM_OPTION_NOTIFY_POLLER ? FUTURE_NOTIFIER_POLLER
							   : FUTURE_NOTIFIER_WAKER;

		mover->client = client;
		mover->owned = owned;
		result = mover_init(&mover->mover, &ring, 1, notifier);
		mover->mover.vdm.capabilities |= VDM_F_MEM_DURABLE; /* of what lies in files */
	}
	if (result) {
		free(mover);
		return NULL;
	}
	return mover;
}

struct data_mover_daemon *data_mover_daemon_new(const struct vdm_options *options)
{
	WITHOUT_CANCELLATION;
	struct vdm_client *client;

	if (vdm_client_open(options, &client) < 0)
		return NULL;

	struct data_mover_daemon *mover = open_mover(client, true);

	if (!mover)
		vdm_client_close(client);
	return mover;
}

struct data_mover_daemon *data_mover_daemon_default(void)
{
	WITHOUT_CANCELLATION;
	struct vdm_client *client = vdm_client_default();

	if (!client) {
		fail(-ENOMEM, "out of memory");
		return NULL;
	}
	return open_mover(client, false);
}

struct vdm *data_mover_daemon_get_vdm(struct data_mover_daemon *mover)
{
	return &mover->mover.vdm;
}

struct vdm_client *data_mover_daemon_get_client(struct data_mover_daemon *mover)
{
	return mover->client;
}

static void release(struct mover *base)
{
	struct data_mover_daemon *mover = (struct data_mover_daemon *)base;

	mover_fini(base);
	if (mover->owned)
		vdm_client_close(mover->client);
	free(mover);
}

void data_mover_daemon_delete(struct data_mover_daemon *mover)
{
	if (mover)
		mover_delete(&mover->mover, release);
}
