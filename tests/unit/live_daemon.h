/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon within a test: a real spawner, real porters as child processes, clerks and workers as
 * threads. The test admits clients in the event loop's stead.
 */
#ifndef VDM_TESTS_LIVE_DAEMON_H
#define VDM_TESTS_LIVE_DAEMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "await.h"
#include "daemon/server.h"
#include "daemon/session.h"
#include "proto/control.h"

extern struct server *server;
extern int client; /* the socket of the client that connected last; -1: it is closed */
extern int lease;  /* that came with the last welcome */

/* For a group of tests: the spawner, which all of their daemons use. */
int start_spawner(void **state);
int stop_spawner(void **state);

/*
 * For each test: a daemon with low limits, and a client that has connected. At the end nothing is
 * left: in the books, of threads, of porters, and of descriptors.
 */
int set_up(void **state);
int tear_down(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* End the daemon before the test does: `server` is NULL then. */
void free_server(void);

/* What all sessions hold together. */
uint64_t held(enum resource resource);

/* Sessions that have ended for breaking the protocol, or were refused. */
uint64_t violated(void);
uint64_t refused(void);

/* The last message about a client that was to be logged. The caller's until the next call. */
const char *last_logged(void);

void connect_client(void);
void close_client(void);

/* Wait until no session is left, and connect another client. */
void next_client(void);

/* The porter of the only user that there is; 0: it has none. */
pid_t porter_pid(void);

/* And its filer; 0: it has none. */
pid_t filer_pid(void);

/* Receive one message. Waits for it. */
int receive_answer(struct vdm_packet *reply);

/* Send a message, and receive the answer. */
int ask(const void *message, const int *fds, unsigned count, struct vdm_packet *reply);

/* Returns 0 for the expected answer, or the error of a refusal or of the connection. */
int ask_for(const void *message, const int *fds, unsigned count, uint32_t expected,
	    struct vdm_packet *reply);

/* Have all that was sent handled. Returns 0, or -ENOTCONN if that ended the session. */
int synchronize(void);

int hello(uint64_t magic, uint32_t version, uint64_t features, uint32_t reserved);
void greet(void);

/* Have a ring made, and keep its descriptors; or close them. */
int make_ring(uint32_t entries, uint32_t first_sequence, struct vdm_packet *reply);
int create_ring(uint32_t entries, struct vdm_packet *reply);

/* Map a file of a ring, with all of its pages. */
void *map_file(const struct vdm_packet *created, enum vdm_ring_fd file);

/* Do the client's part, and start the ring. Returns the submissions. */
void *start_ring(const struct vdm_packet *created);

/* Destroy a ring or remove a region: the two messages have one form. */
int give_back(uint32_t type, uint32_t id, uint32_t reserved);

int add_region(int fd, uint64_t size, uint32_t flags, uint32_t *id);

/* With all pages, and sealed. */
int memory_file(size_t bytes);

#endif
