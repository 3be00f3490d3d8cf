/* SPDX-License-Identifier: BSD-3-Clause */
#include "outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/passing.h"

struct unsent {
	STAILQ_ENTRY(unsent) entry;
	struct porter_message message;
};

_Noreturn void outbox_give_up(void)
{
	_exit(EXIT_FAILURE);
}

void outbox_init(struct outbox *outbox, int daemon, sd_event_source *on_daemon)
{
	outbox->daemon = daemon;
	outbox->on_daemon = on_daemon;
	STAILQ_INIT(&outbox->unsent);
}

static int send_now(const struct outbox *outbox, const struct porter_message *message)
{
	int result = passing_send(outbox->daemon, message, porter_message_size(message), NULL, 0,
				  MSG_DONTWAIT);

	if (result && result != -EAGAIN && !passing_may_retry(result))
		outbox_give_up();
	return result;
}

void outbox_tell(struct outbox *outbox, const struct porter_message *message)
{
	struct unsent *unsent;

	if (STAILQ_EMPTY(&outbox->unsent) && send_now(outbox, message) == 0)
		return;
	/* each visit has a few messages at most that are not answered, so this is bounded */
	unsent = malloc(sizeof *unsent);
	if (!unsent || sd_event_source_set_io_events(outbox->on_daemon, EPOLLIN | EPOLLOUT) < 0)
		outbox_give_up();
	unsent->message = *message;
	STAILQ_INSERT_TAIL(&outbox->unsent, unsent, entry);
}

int outbox_send_rest(struct outbox *outbox)
{
	struct unsent *unsent;
	int result = 0;

	while ((unsent = STAILQ_FIRST(&outbox->unsent)) &&
	       (result = send_now(outbox, &unsent->message)) == 0) {
		STAILQ_REMOVE_HEAD(&outbox->unsent, entry);
		free(unsent);
	}
	if (!unsent)
		sd_event_source_set_io_events(outbox->on_daemon, EPOLLIN);
	return result;
}
