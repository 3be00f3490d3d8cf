/* SPDX-License-Identifier: BSD-3-Clause */
#include "doorbells.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* In the data of an event, in the place of a slot: a kick. */
#define KICK_SLOT UINT32_MAX

#define FIRST_SLOTS 16

int doorbells_open(struct doorbells *doorbells)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = KICK_SLOT};

	*doorbells = (struct doorbells){0};
	doorbells->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	doorbells->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (doorbells->epoll_fd < 0 || doorbells->kick_fd < 0 ||
	    epoll_ctl(doorbells->epoll_fd, EPOLL_CTL_ADD, doorbells->kick_fd, &event) < 0)
		return -errno;
	return 0;
}

void doorbells_close(struct doorbells *doorbells)
{
	if (doorbells->epoll_fd >= 0)
		close(doorbells->epoll_fd);
	if (doorbells->kick_fd >= 0)
		close(doorbells->kick_fd);
	free(doorbells->slots);
}

static int grow(struct doorbells *doorbells)
{
	uint32_t size = doorbells->size ? 2 * doorbells->size : FIRST_SLOTS;
	struct doorbell *slots = realloc(doorbells->slots, size * sizeof *slots);

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = doorbells->size; i < size; i++)
		slots[i] = (struct doorbell){0};
	doorbells->slots = slots;
	doorbells->size = size;
	return 0;
}

int doorbells_add(struct doorbells *doorbells, struct engine_queue *queue, int fd, uint32_t *slot)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	uint32_t free_slot = 0;

	while (free_slot < doorbells->size && doorbells->slots[free_slot].queue)
		free_slot++;
	if (free_slot == doorbells->size) {
		int result = grow(doorbells);

		if (result)
			return result;
	}

	struct doorbell *taken = &doorbells->slots[free_slot];

	event.data.u64 = (uint64_t)++taken->generation << 32 | free_slot;
	if (epoll_ctl(doorbells->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	taken->queue = queue;
	doorbells->count++;
	*slot = free_slot;
	return 0;
}

void doorbells_remove(struct doorbells *doorbells, uint32_t slot, int fd)
{
	epoll_ctl(doorbells->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	doorbells->slots[slot].queue = NULL;
	doorbells->count--;
}

int doorbells_wait(const struct doorbells *doorbells, int timeout_ms,
		   struct epoll_event events[DOORBELLS_AT_ONCE])
{
	return epoll_wait(doorbells->epoll_fd, events, DOORBELLS_AT_ONCE, timeout_ms);
}

struct engine_queue *doorbells_queue(const struct doorbells *doorbells,
				     const struct epoll_event *event)
{
	uint32_t slot = (uint32_t)event->data.u64;
	uint32_t generation = (uint32_t)(event->data.u64 >> 32);
	eventfd_t kicks;

	if (slot == KICK_SLOT) {
		if (!doorbells->kicked_for_good)
			eventfd_read(doorbells->kick_fd, &kicks);
		return NULL;
	}
	if (slot >= doorbells->size || doorbells->slots[slot].generation != generation)
		return NULL;
	return doorbells->slots[slot].queue;
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
