/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control messages: what a client and the daemon say to each other over the socket.
 *
 * The socket is AF_UNIX, SOCK_SEQPACKET: one packet is one message, a fixed structure that begins
 * with a header, and the file descriptors that belong to it (SCM_RIGHTS, unix(7)). The client
 * asks, the daemon answers each request once and in order, with the reply named beside the request
 * or with VDM_MESSAGE_REFUSED. VDM_MESSAGE_RING_START alone has no answer. A message that is
 * malformed (unknown type, wrong size, wrong number of descriptors, reserved bits set, a request
 * before the greeting, a request that is answered with descriptors while an earlier answer is
 * unread) ends the session; a request that is well formed but cannot be granted is refused and the
 * session goes on.
 */
#ifndef VDM_PROTO_CONTROL_H
#define VDM_PROTO_CONTROL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Raised when a program built for the older one could misread the newer one. */
#define VDM_PROTOCOL_VERSION 5

/* The first eight bytes that a client sends, so that a stray peer is told apart: "vdmring\n". */
#define VDM_PROTOCOL_MAGIC 0x0a676e69726d6476ull

/* Optional parts of the protocol. A client that asks for one that the daemon lacks is refused. */
#define VDM_FEATURE_FILES (1ull << 0) /* VDM_MESSAGE_FILES */
/* Before it relies on doorbell_wanted, the daemon passes a full barrier in all processes that have
 * registered for that (membarrier(2), MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED): their submitting
 * threads need none. */
#define VDM_FEATURE_BARRIER (1ull << 1)
/* Large operations are claimed before they begin, proto/ring.h: a client may take back what is
 * not. */
#define VDM_FEATURE_TAKE_BACK (1ull << 2)

/* Most descriptors that any message carries, and the longest text of a refusal. */
#define VDM_MESSAGE_MAX_FDS 4
#define VDM_REFUSAL_TEXT    224

/* Bytes of a client's name, as many as proc(5) comm has. */
#define VDM_COMMAND_TEXT 16

enum vdm_message_type {
	VDM_MESSAGE_HELLO = 1,   /* -> WELCOME */
	VDM_MESSAGE_WELCOME,     /* with the lease, enum vdm_welcome_fd */
	VDM_MESSAGE_RING_CREATE, /* -> RING_CREATED */
	VDM_MESSAGE_RING_CREATED,
	VDM_MESSAGE_RING_DESTROY, /* -> DONE */
	VDM_MESSAGE_REGION_ADD,   /* with one descriptor; -> REGION_ADDED */
	VDM_MESSAGE_REGION_ADDED,
	VDM_MESSAGE_REGION_REMOVE, /* -> DONE */
	VDM_MESSAGE_STATUS,        /* -> STATUS_REPLY */
	VDM_MESSAGE_STATUS_REPLY,
	VDM_MESSAGE_DONE,
	/* has this number and layout in all versions, so that advice is understood */
	VDM_MESSAGE_REFUSED,
	VDM_MESSAGE_RING_START,   /* no answer */
	VDM_MESSAGE_FILES,        /* -> FILES_OPENED */
	VDM_MESSAGE_FILES_OPENED, /* with the socket to the filer, enum vdm_files_fd */
	VDM_MESSAGE_FILE_ADD,     /* to a filer, with one descriptor; -> REGION_ADDED */
	VDM_MESSAGE_TYPE_COUNT
};

struct vdm_message_header {
	uint32_t type; /* enum vdm_message_type */
	uint32_t size; /* bytes, of the whole message */
};
static_assert(sizeof(struct vdm_message_header) == 8, "wire format");

/*
 * Every version has header, magic and version in these places, and the daemon looks at them before
 * it looks at the size: a client of another version is refused with -EPROTONOSUPPORT and advice,
 * whatever follows.
 */
struct vdm_message_hello {
	struct vdm_message_header header;
	uint64_t magic;
	uint32_t version;
	uint32_t reserved; /* zero */
	uint64_t features; /* that the client needs */
	/* What the client calls itself, for the log and the status: a hint, no proof. Up to the
	 * first NUL. */
	char command[VDM_COMMAND_TEXT];
};
static_assert(sizeof(struct vdm_message_hello) == 48, "wire format");
static_assert(offsetof(struct vdm_message_hello, magic) == 8, "wire format, of all versions");
static_assert(offsetof(struct vdm_message_hello, version) == 16, "wire format, of all versions");
static_assert(offsetof(struct vdm_message_hello, command) == 32, "wire format");

struct vdm_message_welcome {
	struct vdm_message_header header;
	uint64_t features; /* that the daemon has; a superset of what was asked */
	uint32_t version;
	uint32_t workers;           /* threads that copy */
	uint32_t max_rings;         /* per session */
	uint32_t max_entries;       /* per ring */
	uint32_t max_regions;       /* per session */
	uint32_t reserved;          /* zero */
	uint64_t max_region_bytes;  /* per region */
	uint64_t offload_threshold; /* bytes below which the operator advises against offload */
};
static_assert(sizeof(struct vdm_message_welcome) == 56, "wire format");
static_assert(offsetof(struct vdm_message_welcome, max_region_bytes) == 40, "wire format");

/* Descriptors that come with WELCOME. */
enum vdm_welcome_fd {
	/*
	 * One end of a socket pair, of which the engine's process alone has the other. It hangs up
	 * when the engine has let go of all rings and regions of the session: the proof that
	 * nothing of the client's is read or written any more. The session's own socket proves
	 * nothing, for another process of the daemon holds its other end.
	 */
	VDM_WELCOME_FD_LEASE,
	VDM_WELCOME_FD_COUNT
};

struct vdm_message_ring_create {
	struct vdm_message_header header;
	uint32_t entries;        /* a power of two */
	uint32_t first_sequence; /* vdm_ring_first_sequence_valid() of proto/ring.h */
	int32_t priority;        /* enum vdm_ring_priority, proto/ring.h */
	uint32_t flags;          /* reserved, zero */
};
static_assert(sizeof(struct vdm_message_ring_create) == 24, "wire format");

/* Descriptors that come with RING_CREATED, in this order. The memory files are those of
 * proto/ring.h. */
enum vdm_ring_fd {
	VDM_RING_FD_SUBMISSION, /* memory file, for reading and writing */
	VDM_RING_FD_COMPLETION, /* memory file, read only */
	/*
	 * One end of a SOCK_SEQPACKET pair: the client sends 8 bytes each time, and never waits.
	 * Not an eventfd, whose queue of waiters both sides would share: the client could fill it.
	 */
	VDM_RING_FD_DOORBELL,
	/* One end of a SOCK_SEQPACKET pair: readable at a signal (8 bytes each), hung up when the
	 * daemon has gone. Not an eventfd: the client shares an eventfd's O_NONBLOCK flag and could
	 * clear it, fill the counter and so block the worker that signals. */
	VDM_RING_FD_EVENT,
	VDM_RING_FD_COUNT
};
static_assert(VDM_RING_FD_COUNT <= VDM_MESSAGE_MAX_FDS, "a ring's descriptors fit a message");

struct vdm_message_ring_created {
	struct vdm_message_header header;
	uint32_t ring;
	uint32_t entries;
	uint32_t first_sequence;
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct vdm_message_ring_created) == 24, "wire format");

/*
 * The client has populated both files of the ring, prepared and sealed the submission file, and may
 * have begun to submit. To start a ring that does not exist, or has been started, or whose files
 * are not so, is as malformed as reserved bits. A daemon that cannot serve the ring, because it is
 * out of memory, ends the session.
 */
struct vdm_message_ring_start {
	struct vdm_message_header header;
	uint32_t ring;
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct vdm_message_ring_start) == 16, "wire format");

/* Of a ring that has been started, or has not. */
struct vdm_message_ring_destroy {
	struct vdm_message_header header;
	uint32_t ring;
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct vdm_message_ring_destroy) == 16, "wire format");

#define VDM_REGION_READ_ONLY (1u << 0) /* operations may only read it */
#define VDM_REGION_EXTEND    (1u << 1) /* of a file: it may be longer than the file */

struct vdm_message_region_add {
	struct vdm_message_header header;
	uint64_t size;     /* bytes that the client says the file has */
	uint32_t flags;    /* VDM_REGION_READ_ONLY */
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct vdm_message_region_add) == 24, "wire format");

/*
 * A region that is a part of a regular file. Operations on it are reads and writes of the file; a
 * filer alone has such regions.
 */
struct vdm_message_file_add {
	struct vdm_message_header header;
	uint64_t offset;   /* in the file, of whole pages */
	uint64_t size;     /* bytes, at least one */
	uint32_t flags;    /* VDM_REGION_* */
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct vdm_message_file_add) == 32, "wire format");
static_assert(offsetof(struct vdm_message_file_add, flags) == 24, "wire format");

struct vdm_message_region_added {
	struct vdm_message_header header;
	uint64_t size;
	uint32_t region;
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct vdm_message_region_added) == 24, "wire format");

struct vdm_message_region_remove {
	struct vdm_message_header header;
	uint32_t region;
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct vdm_message_region_remove) == 16, "wire format");

/*
 * Operations on files are carried out by a process of their own for each user, the filer, so that a
 * file system that hangs holds up that user alone. A client asks the daemon for a connection to it,
 * VDM_MESSAGE_FILES. On that socket the client greets as it did the daemon, and gets a welcome with
 * a lease; then it has rings and regions there as with the daemon, and also regions of files. The
 * memory of such operations lies in regions that the filer knows. A filer has no status, and not
 * VDM_FEATURE_TAKE_BACK.
 */
struct vdm_message_files {
	struct vdm_message_header header;
};
static_assert(sizeof(struct vdm_message_files) == 8, "wire format");

/* Descriptors that come with FILES_OPENED. */
enum vdm_files_fd { VDM_FILES_FD_SOCKET, VDM_FILES_FD_COUNT };

struct vdm_message_files_opened {
	struct vdm_message_header header;
};
static_assert(sizeof(struct vdm_message_files_opened) == 8, "wire format");

struct vdm_message_status {
	struct vdm_message_header header;
	uint64_t after; /* number of the last session that is known already; 0: of none */
};
static_assert(sizeof(struct vdm_message_status) == 16, "wire format");

/* Sessions in one answer, which has to be small enough to be copied with every message. */
#define VDM_STATUS_SESSIONS 4

/* The totals, and the sessions that come next by number. There are no more when it is not full. */
struct vdm_message_status_reply {
	struct vdm_message_header header;
	uint32_t session_count;
	uint32_t reserved; /* zero */
	struct vdm_report_daemon daemon;
	struct vdm_report_session sessions[VDM_STATUS_SESSIONS];
};
static_assert(sizeof(struct vdm_message_status_reply) ==
		      16 + sizeof(struct vdm_report_daemon) +
			      VDM_STATUS_SESSIONS * sizeof(struct vdm_report_session),
	      "wire format");

struct vdm_message_done {
	struct vdm_message_header header;
};
static_assert(sizeof(struct vdm_message_done) == 8, "wire format");

struct vdm_message_refused {
	struct vdm_message_header header;
	uint32_t request;            /* type of the message that is refused */
	int32_t error;               /* negative errno */
	char text[VDM_REFUSAL_TEXT]; /* what was wrong and what would be right; NUL-terminated */
};
static_assert(sizeof(struct vdm_message_refused) == 240, "wire format, of all versions");

/* Large enough for any message. */
union vdm_message {
	struct vdm_message_header header;
	struct vdm_message_hello hello;
	struct vdm_message_welcome welcome;
	struct vdm_message_ring_create ring_create;
	struct vdm_message_ring_created ring_created;
	struct vdm_message_ring_start ring_start;
	struct vdm_message_ring_destroy ring_destroy;
	struct vdm_message_region_add region_add;
	struct vdm_message_region_added region_added;
	struct vdm_message_region_remove region_remove;
	struct vdm_message_files files;
	struct vdm_message_files_opened files_opened;
	struct vdm_message_file_add file_add;
	struct vdm_message_status status;
	struct vdm_message_status_reply status_reply;
	struct vdm_message_done done;
	struct vdm_message_refused refused;
};

#define VDM_TO_DAEMON (1u << 0)
#define VDM_TO_FILER  (1u << 1)
#define VDM_TO_BOTH   (VDM_TO_DAEMON | VDM_TO_FILER)

/* What a request looks like. */
struct vdm_request {
	uint32_t size;
	unsigned fds;
	bool answers_with_fds;
	unsigned to; /* whom clients send it: VDM_TO_* */
};

/* Of a request of that type, enum vdm_message_type; NULL: clients do not send such messages. */
const struct vdm_request *vdm_request(uint32_t type);

/* Most descriptors that a message can be made to carry: SCM_MAX_FD of unix(7). */
#define VDM_PACKET_MAX_FDS 253

/* A message as it came, with the descriptors that the receiver now owns. */
struct vdm_packet {
	union vdm_message message;
	size_t size; /* bytes received */
	int fds[VDM_PACKET_MAX_FDS];
	unsigned fd_count;
	int truncated; /* descriptors were lost, for this process may not have more of them */
};

/*
 * Send one message; `message->size` bytes. Never blocks and never raises SIGPIPE. The descriptors
 * stay the caller's. Returns 0; -EAGAIN: the peer does not read; -ENOTCONN: it has gone; or another
 * negative errno.
 */
int vdm_packet_send(int socket, const struct vdm_message_header *message, const int *fds,
		    unsigned fd_count);

/*
 * Receive one message. `wait` says whether to block for it. Returns 0; -EAGAIN where there is none;
 * -ENOTCONN at the end of the connection; -EMSGSIZE for a message longer than any, or cut short;
 * -EPROTO for more descriptors than any message has; -EMFILE when this process has no room for the
 * descriptors, though the message itself has been received; or another negative errno. In any
 * case the caller owns packet->fds. The sender decides how long closing them takes.
 */
int vdm_packet_receive(int socket, struct vdm_packet *packet, int wait);

/* Close the descriptors that still belong to the packet. */
void vdm_packet_close(struct vdm_packet *packet);

/* Take descriptor `index` out of the packet: from now on it is the caller's to close. */
int vdm_packet_take(struct vdm_packet *packet, unsigned index);

#endif
