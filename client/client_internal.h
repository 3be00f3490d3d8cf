/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection, as the parts of the library see it. */
#ifndef VDM_CLIENT_INTERNAL_H
#define VDM_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libvdm/client.h"
#include "libvdm/ring.h"
#include "libvdm/status.h"
#include "proto/control.h"

/* What the counters of a ring are added up in; written by its thread, read by any. */
struct ring_counters {
	_Atomic uint64_t offloaded, offloaded_bytes;
	_Atomic uint64_t local_small, local_outside, local_disconnected, local_bytes, taken_back;
	_Atomic uint64_t failed, doorbells, sleeps;
};

struct vdm_region {
	struct vdm_client *client;
	LIST_ENTRY(vdm_region) entry; /* in client->regions */
	int fd;
	char *address;
	size_t size;
	bool writable;
	bool mapped;                  /* by us: to be unmapped */
	uint32_t id;                  /* that the daemon gave it; 0: it does not know it */
};

LIST_HEAD(region_list, vdm_region);

struct vdm_client {
	uint32_t epoch;
	struct vdm_options options;   /* every field valid; socket is our copy */
	pthread_mutex_t lock;         /* guards everything below, and the conversation */
	int socket;                   /* -1: no daemon */
	int error;                    /* why not */
	struct vdm_message_welcome welcome;
	struct region_list regions;
	/* How often the regions or the connection have changed. release; partner: a ring's acquire in
	 * region_view_refresh(). */
	_Atomic uint32_t changes;
	uint32_t connections;         /* how often it has been connected */
	LIST_HEAD(, vdm_ring) rings;
	struct ring_counters ended;   /* of the rings that have been closed */
};

/* Copy the caller's options, of whatever size, over the defaults. */
int options_complete(const struct vdm_options *given, const struct vdm_options *defaults,
		     struct vdm_options *complete);

/* Connect again if the daemon has gone and has come back. Locks. */
void client_reconnect(struct vdm_client *client);

/*
 * One request and its reply, with `client->lock` held. `expected` is the type of reply; its descriptors,
 * exactly `fd_count`, are in the packet and the caller's to take. A refusal becomes its error and
 * sentence. -ENOTCONN: there is no daemon (any more).
 */
int client_request(struct vdm_client *client, const struct vdm_message_header *request, const int *fds,
		   unsigned sent_fds, enum vdm_message_type expected, unsigned fd_count,
		   struct vdm_packet *reply);

/* Have the daemon map a region again after reconnecting. With the lock held. */
int region_register(struct vdm_region *region);

void counters_add(struct ring_counters *sum, const struct ring_counters *more);

/* Connect to the daemon at `path`. Returns the socket or a negative errno with its sentence. */
int client_connect(const char *path, uint64_t features, struct vdm_message_welcome *welcome);

/* As client_request(), on a socket that belongs to no client. */
int client_converse(int socket, const struct vdm_message_header *request, const int *fds,
		    unsigned sent_fds, enum vdm_message_type expected, unsigned fd_count,
		    struct vdm_packet *reply);

/* The socket to use: the option, the environment, or the default. */
const char *client_socket_path(const char *given);

#endif
