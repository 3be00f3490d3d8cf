/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon whose every move is the test's: it speaks the protocol in a thread, keeps silent when
 * told to, and never touches a ring by itself. One client, one ring.
 */
#ifndef TEST_PUPPET_DAEMON_H
#define TEST_PUPPET_DAEMON_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "libvdm/ring.h"
#include "proto/control.h"
#include "proto/ring.h"

struct puppet_daemon {
	char directory[64], path[96];
	int listener;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock: */
	int socket;               /* of the client's session; -1: none */
	int lease;                /* our end of it; -1: none */
	int dropped;              /* that of a session whose porter has died; -1: none */
	bool silent;              /* requests are read, and not answered */
	bool greets;              /* the greeting is answered, whatever else is */
	bool has_socket_doorbell; /* of a ring, instead of an eventfd */
	bool delays_start;        /* a ring that the client has started is not prepared */
	bool stopping;
	unsigned breaks_off; /* so many greetings are not answered but end the session */
	bool hangs_up;       /* its thread is to end the session */
	int refusal[VDM_MESSAGE_TYPE_COUNT]; /* negative errno that a request gets; or 0 */
	unsigned connections;
	unsigned received[VDM_MESSAGE_TYPE_COUNT];
	uint32_t regions;
	uint32_t removed; /* number of the region that was removed last */
	/* Of the ring, once there is one: */
	const void *submission;
	void *completion;
	int files[2]; /* submission, completion */
	uint32_t entries, completed;
	uint32_t first; /* position; before there is a ring, that of puppet_client_open() */
	int doorbell_fd, signal_fd;
};

void puppet_start(struct puppet_daemon *puppet);
void puppet_stop(struct puppet_daemon *puppet);

/*
 * A client of the puppet that offloads everything, with a ring of 8 entries and a region of
 * `bytes`. `answer_timeout_ms` is the client's option.
 */
struct puppet_client {
	struct vdm_client *client;
	struct vdm_ring *ring;
	struct vdm_region *region;
	char *memory; /* the region's */
};
void puppet_client_open(struct puppet_client *client, struct puppet_daemon *puppet,
			unsigned answer_timeout_ms, size_t bytes);
void puppet_client_close(struct puppet_client *client);

/* Submit a copy of the first `size` bytes of the region to what follows them. */
void puppet_client_submit_copy(const struct puppet_client *client, size_t size);

/* Answer no more; and again, what has come meanwhile first. The greeting only if `greets`. */
void puppet_silence(struct puppet_daemon *puppet, bool greets);
void puppet_speak(struct puppet_daemon *puppet);

/* End the session, as the daemon's death does. */
void puppet_hang_up(struct puppet_daemon *puppet);

/* Close the session's socket alone, as the death of a porter does. */
void puppet_drop_socket(struct puppet_daemon *puppet);

/* Refuse requests of that type, with a negative errno and this sentence; or 0: no more. */
#define PUPPET_REFUSAL "the puppet has been told to refuse"
void puppet_refuse(struct puppet_daemon *puppet, enum vdm_message_type type, int error);

/* How many requests of that type have come; and wait until there are `count`. */
unsigned puppet_received(struct puppet_daemon *puppet, enum vdm_message_type type);
void puppet_await(struct puppet_daemon *puppet, enum vdm_message_type type, unsigned count);

/* Prepare the completions of a ring whose start has been delayed. */
void puppet_start_ring(struct puppet_daemon *puppet);

/* Claim the operations before `position`; complete one. */
void puppet_claim(struct puppet_daemon *puppet, uint32_t position);
void puppet_complete(struct puppet_daemon *puppet, uint32_t position, int32_t result,
		     uint32_t flags);

/*
 * The number of operations that have been published in the first lap, and the descriptor at a
 * position.
 */
uint32_t puppet_published(const struct puppet_daemon *puppet);
const struct vdm_descriptor *puppet_descriptor(const struct puppet_daemon *puppet,
					       uint32_t position);

/* Wait until a thread of this process sleeps in the kernel, or `*ended` is set. Safe in a signal
 * handler. */
void await_sleep(pid_t thread, const _Atomic bool *ended);

#endif
