/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that ring, each for an owner. A worker waits for them without the crew's lock, so an
 * owner may be gone by the time its event is looked at. So an event names a slot and the slot's
 * generation, and an event for a slot's last tenant finds no owner.
 *
 * The slots are guarded by the crew's lock. epoll_ctl(2) is called without it: adding to an epoll
 * that is in another one takes a mutex of the whole machine.
 */
#ifndef VDM_ENGINE_BELLS_H
#define VDM_ENGINE_BELLS_H

#include <stdint.h>
#include <sys/epoll.h>

struct bell;

struct bells {
	int epoll_fd; /* constant */
	struct bell *slots;
	uint32_t size;
	uint32_t first_free; /* `size`: none is */
};

/* Returns 0 or a negative errno; bells_close() is called either way. */
int bells_open(struct bells *bells);
void bells_close(struct bells *bells);

/* Holding the crew's lock: take a slot for an owner, and store what its events name. Returns 0 or
 * -ENOMEM. */
int bells_reserve(struct bells *bells, void *owner, uint64_t *bell);
void bells_release(struct bells *bells, uint64_t bell);

/* Holding the crew's lock: the owner that an event is for, or NULL if it is gone. */
void *bells_owner(const struct bells *bells, uint64_t bell);

/* Without the lock: have a descriptor ring, with the epoll events `events`, or ring no more.
 * Returns 0 or a negative errno. */
int bells_listen(const struct bells *bells, int fd, uint64_t bell, uint32_t events);
void bells_ignore(const struct bells *bells, int fd);

#endif
