/* SPDX-License-Identifier: BSD-3-Clause */
#include "bells.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_SLOTS 16

struct bell {
	void *owner; /* NULL: free */
	uint32_t generation;
	uint32_t next_free;
};

int bells_open(struct bells *bells)
{
	*bells = (struct bells){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	return bells->epoll_fd < 0 ? -errno : 0;
}

void bells_close(struct bells *bells)
{
	if (bells->epoll_fd >= 0)
		close(bells->epoll_fd);
	free(bells->slots);
}

static int grow(struct bells *bells)
{
	uint32_t size = bells->size ? 2 * bells->size : FIRST_SLOTS;
	struct bell *slots = realloc(bells->slots, size * sizeof *slots);

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = bells->size; i < size; i++)
		slots[i] = (struct bell){.next_free = i + 1};
	bells->slots = slots;
	bells->size = size;
	return 0;
}

int bells_reserve(struct bells *bells, void *owner, uint64_t *bell)
{
	if (bells->first_free == bells->size) {
		int result = grow(bells);

		if (result)
			return result;
	}

	uint32_t slot = bells->first_free;
	struct bell *taken = &bells->slots[slot];

	bells->first_free = taken->next_free;
	taken->owner = owner;
	*bell = (uint64_t)++taken->generation << 32 | slot;
	return 0;
}

void bells_release(struct bells *bells, uint64_t bell)
{
	uint32_t slot = (uint32_t)bell;

	bells->slots[slot].owner = NULL;
	bells->slots[slot].next_free = bells->first_free;
	bells->first_free = slot;
}

void *bells_owner(const struct bells *bells, uint64_t bell)
{
	uint32_t slot = (uint32_t)bell;

	if (slot >= bells->size || bells->slots[slot].generation != bell >> 32)
		return NULL;
	return bells->slots[slot].owner;
}

int bells_listen(const struct bells *bells, int fd, uint64_t bell, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = bell};

	return epoll_ctl(bells->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void bells_ignore(const struct bells *bells, int fd)
{
	epoll_ctl(bells->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}
