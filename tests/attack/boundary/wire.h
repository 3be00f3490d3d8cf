/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The few messages of proto/control.h that attackers send by hand. Nothing here ends the process,
 * as integration/raw_session.h does: whatever the daemon does, an attack goes on.
 */
#ifndef VDM_TESTS_BOUNDARY_WIRE_H
#define VDM_TESTS_BOUNDARY_WIRE_H

#include <stddef.h>
#include <stdint.h>

/* Most descriptors of one message, unix(7). */
#define WIRE_MOST_FDS 253

/* A socket that is not connected; or a negative errno. And connect it. Returns 0 or likewise. */
int wire_socket(void);
int wire_connect_socket(int socket);

/* Connect to $VDM_SOCKET. Returns the socket or a negative errno, after a second at most. */
int wire_connect(void);

/* Send the greeting, with descriptors that do not belong there if fd_count is not 0. */
int wire_send_hello(int socket, const int *fds, unsigned fd_count);

/* Connect, greet and wait for the answer. Returns the socket or a negative errno. */
int wire_session(void);

/* Any bytes with any descriptors. Returns 0 or a negative errno; does not block. */
int wire_send(int socket, const void *bytes, size_t size, const int *fds, unsigned fd_count);

/* A message whose header has another size than the message: it ends the session. */
int wire_send_malformed(int socket, const int *fds, unsigned fd_count);

/* A well-formed request for a region. */
int wire_send_region_add(int socket, int fd, uint64_t bytes, uint32_t flags);
int wire_send_region_remove(int socket, uint32_t region);

/* A request that is answered with a descriptor. */
int wire_send_status(int socket);

/*
 * Wait for the next answer, and drop it. Returns 0 or a negative errno. `region`, if not NULL, gets
 * the id that the answer to a region's request has, or 0.
 */
int wire_receive(int socket, uint32_t *region);

/* A request that is refused, and its answer. */
int wire_ping(int socket);

/* Whether the daemon has hung up. */
int wire_is_over(int socket);

/* A memfd of so many bytes, populated, and sealed as a region has to be; or -1. */
int wire_memfd(size_t bytes);

#endif
