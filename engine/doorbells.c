/* SPDX-License-Identifier: BSD-3-Clause */
#include "doorbells.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What the event of a kick names: no slot. */
#define KICK UINT64_MAX

int doorbells_open(struct doorbells *doorbells)
{
	*doorbells = (struct doorbells){.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

	int result = doorbells->kick_fd < 0 ? -errno : 0;
	int opened = bells_open(&doorbells->accounts);

	if (!result)
		result = opened;
	if (!result)
		result = bells_listen(&doorbells->accounts, doorbells->kick_fd, KICK, EPOLLIN);
	return result;
}

void doorbells_close(struct doorbells *doorbells)
{
	bells_close(&doorbells->accounts);
	if (doorbells->kick_fd >= 0)
		close(doorbells->kick_fd);
}

int doorbells_wait(const struct doorbells *doorbells, int timeout_ms,
		   struct epoll_event events[ACCOUNTS_AT_ONCE])
{
	return epoll_wait(doorbells->accounts.epoll_fd, events, ACCOUNTS_AT_ONCE, timeout_ms);
}

bool doorbells_kicked(const struct doorbells *doorbells, const struct epoll_event *event)
{
	eventfd_t kicks;

	if (event->data.u64 != KICK)
		return false;
	if (!doorbells->kicked_for_good)
		eventfd_read(doorbells->kick_fd, &kicks);
	return true;
}

void doorbells_kick(const struct doorbells *doorbells)
{
	eventfd_write(doorbells->kick_fd, 1);
}

void doorbells_kick_for_good(struct doorbells *doorbells)
{
	doorbells->kicked_for_good = true;
	doorbells_kick(doorbells);
}
