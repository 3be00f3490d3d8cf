/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon and a filer say to each other. The filer's user may have taken it over: the
 * daemon believes nothing that it says, and takes no descriptor from it.
 *
 * The socket is AF_UNIX, SOCK_SEQPACKET. Each message is one struct filer_message, but for the
 * first one to the daemon, which is of birth.h. Both sides are of one program.
 */
#ifndef VDM_DAEMON_FILER_MESSAGE_H
#define VDM_DAEMON_FILER_MESSAGE_H

#include <stdint.h>

#include "config.h"

enum filer_message_type {
	/* To the filer: */
	FILER_BEGIN = 1, /* the first message: FILER_BEGIN_FDS; `value` is spin_us */
	FILER_CLIENT,    /* serve this one: FILER_CLIENT_FDS, `client`; `value` is its process id */

	/* To the daemon: */
	FILER_READY,   /* once; `value` is 0, or why io_uring is not used: a negative errno */
	FILER_VIOLATED /* a client had to go: `reason`; `value` is its process id */
};

enum filer_begin_fd {
	FILER_BEGIN_COUNTERS, /* memory file: struct files_counters of op/files.h */
	FILER_BEGIN_FDS
};

enum filer_client_fd {
	FILER_CLIENT_SOCKET,
	FILER_CLIENT_END, /* hangs up when the client's session with the daemon ends */
	FILER_CLIENT_FDS
};

#define FILER_MOST_FDS FILER_CLIENT_FDS

#define FILER_REASON_TEXT 128

struct filer_client_settings {
	struct user_config user;
	uint64_t offload_threshold; /* bytes */
};

struct filer_message {
	uint32_t type; /* enum filer_message_type */
	int32_t value;
	uint64_t session; /* its number */
	union {
		struct filer_client_settings client;
		char reason[FILER_REASON_TEXT]; /* up to the first NUL */
	};
};

#endif
