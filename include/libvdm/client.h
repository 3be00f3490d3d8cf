/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection to vdmd, and the memory that both sides see.
 *
 * A client object is usable without a daemon: every operation of its rings and movers then takes
 * the local lane, that is, runs in this process, with the same results. vdm_client_info() tells
 * whether there is a daemon.
 *
 * Thread-safety: any thread may call every function here at any time, except that an object must
 * not be used while or after it is closed or released. No function is a cancellation point:
 * pthread_cancel(3) takes effect when the function returns. After fork(2) the child must not use
 * the parent's objects: every call on them fails with -EOWNERDEAD. The child may close them, which
 * frees only memory of the child, and may open its own.
 */
#ifndef LIBVDM_CLIENT_H
#define LIBVDM_CLIENT_H

#include <stdint.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#ifdef __GNUC__
#pragma GCC diagnostic push
/* structures and functions share names, as with stat(2) */
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#endif

struct vdm_client;
struct vdm_region;

/* Fail to open rather than use the local lane when there is no daemon. */
#define VDM_OPTION_REQUIRE_DAEMON (1u << 0)
/* Do not look for a daemon. */
#define VDM_OPTION_LOCAL_ONLY (1u << 1)
/* How a mover notifies (future.h), if not by wakers. */
#define VDM_OPTION_NOTIFY_NONE   (1u << 2)
#define VDM_OPTION_NOTIFY_POLLER (1u << 3)
/* When the daemon ends, have operations in flight complete with -ENOTCONN, and their ring take the
 * local lane until it is closed. */
#define VDM_OPTION_NO_RECOVERY (1u << 4)
#define VDM_OPTION_VALID_FLAGS                                                                     \
	(VDM_OPTION_REQUIRE_DAEMON | VDM_OPTION_LOCAL_ONLY | VDM_OPTION_NOTIFY_NONE |              \
	 VDM_OPTION_NOTIFY_POLLER | VDM_OPTION_NO_RECOVERY)

/* Optional abilities of a daemon, for `features` here and in struct vdm_client_info. */
#define VDM_FEATURE_FILE_REGIONS (1ull << 0) /* operations on files, which the library else does */

/*
 * How to connect. Zero in any field means the default. Set `size` to sizeof(struct vdm_options).
 * A field that lies beyond `size` takes its default.
 */
struct vdm_options {
	size_t size;
	const char *socket; /* path; default $VDM_SOCKET, then /run/vdmd/vdmd.sock */
	uint32_t flags;     /* VDM_OPTION_* */
	/* of each ring and mover: a power of two from 2 to 4096; default 256 */
	uint32_t entries;
	uint64_t features;        /* VDM_FEATURE_* without which opening fails with -EOPNOTSUPP */
	size_t offload_threshold; /* bytes; smaller operations run inline; 1 offloads everything;
				      default: what the daemon advises */
	uint32_t spin_us;         /* longest time that a wait spins before it sleeps; default 50;
				      VDM_NO_SPIN: sleep at once */
	/* position at which rings begin to count; for tests of the wrap */
	uint32_t first_sequence;
	/* VDM_PRIORITY_*: which of this user's rings the daemon serves first */
	int32_t priority;
	/* Longest wait for an answer of the daemon, in all; default 10000. A client that needs no
	 * daemon waits for the answer to its greeting for at most 1000 of it when it opens. */
	uint32_t answer_timeout_ms;
	/* How long vdm_ring_wait_cqes() waits for a daemon that is being started in the place of
	 * one that has ended, before this process carries out what was in flight; default 10000. */
	uint32_t recovery_timeout_ms;
};
#define VDM_NO_SPIN UINT32_MAX

/* Operations of a ring wait while a ring of the same user with a higher priority has anything to
 * begin. */
#define VDM_PRIORITY_LOW    (-1)
#define VDM_PRIORITY_NORMAL 0 /* the default */
#define VDM_PRIORITY_HIGH   1

/*
 * Connect. `options` may be NULL. On success stores a new object, to be ended with
 * vdm_client_close(). Unless VDM_OPTION_REQUIRE_DAEMON is set, this succeeds too without a daemon,
 * and with one that does not answer in time. When that one answers later, rings that are opened
 * from then on use it.
 * Returns 0; -EINVAL for bad options; -ENOENT or -ECONNREFUSED (no daemon), -EACCES (not in the
 * group of the socket), -EPROTONOSUPPORT (daemon speaks another version), -EOPNOTSUPP (daemon lacks
 * a feature), -EDQUOT (over a limit of the daemon), -ETIMEDOUT (the required daemon does not
 * answer) or another negative errno; vdm_last_error() then has a sentence about it.
 */
int vdm_client_open(const struct vdm_options *options, struct vdm_client **client);

/*
 * End the connection and free the object. Its rings and regions must have been closed and released
 * before. NULL is allowed.
 */
void vdm_client_close(struct vdm_client *client);

/*
 * The connection that the whole process shares. The first call opens it with default options. A
 * later call opens it again if the daemon has gone or could not be reached before. NULL only when
 * memory is short. Do not close it. A forked child gets a new one.
 */
struct vdm_client *vdm_client_default(void);

struct vdm_client_info {
	size_t size;               /* set by the caller to sizeof(struct vdm_client_info) */
	int connected;             /* 0: every operation takes the local lane */
	int error;                 /* why not: negative errno, else 0 */
	uint64_t features;         /* of the daemon */
	uint32_t workers;          /* of the daemon */
	uint32_t max_entries;      /* per ring */
	uint32_t max_rings;        /* per connection */
	uint32_t max_regions;      /* per connection */
	uint64_t max_region_bytes; /* per region */
	size_t offload_threshold;  /* in force, bytes */
};

/* Fill in `info`. Returns 0, -EINVAL (size is zero) or -EOWNERDEAD. */
int vdm_client_info(struct vdm_client *client, struct vdm_client_info *info);

/*
 * Why the last call of this library in this thread failed: a sentence without a newline, valid
 * until the thread's next call that fails. Empty when no call has failed.
 */
const char *vdm_last_error(void);

/* Regions: memory in which operations can be offloaded. */

/* Operations may read the region but not write it. One that would write it completes with -EACCES,
 * in either lane. */
#define VDM_REGION_READONLY (1u << 0)
/* Of a file: the region may end behind the end of the file, and operations that write there extend
 * the file. */
#define VDM_REGION_EXTEND (1u << 1)
/* Of a file: map it, so that the program can touch its memory too. */
#define VDM_REGION_MAP (1u << 2)

/*
 * Allocate `bytes` (rounded up to whole pages) of zeroed memory that the daemon can reach. This
 * process allocates and touches the pages, so that it is charged for them. Without a daemon they
 * are ordinary memory. Returns 0; -EINVAL (zero or absurd size), -ENOMEM, -EDQUOT or -E2BIG (a
 * limit of the daemon), or another negative errno.
 */
int vdm_region_alloc(struct vdm_client *client, size_t bytes, struct vdm_region **region);

/*
 * Make memory that the program already has in a memfd (memfd_create(2) with MFD_ALLOW_SEALING)
 * reachable. `address` is where the program has mapped the file, from offset 0 with MAP_SHARED,
 * readable, and writable unless VDM_REGION_READONLY is set (/proc/self/maps is read). NULL has the
 * library map it. The library adds F_SEAL_SHRINK if it is not set: the file can never become
 * shorter again. The descriptor stays the caller's and may be closed afterwards. Pages that the
 * file does not have yet are allocated. A descriptor that is opened read-only, or sealed against
 * writing, needs VDM_REGION_READONLY.
 *
 * Returns 0, or: -EINVAL zero length, not whole pages, or the file is not mapped like that at
 * `address`; -EPERM cannot be sealed against shrinking; -EMEDIUMTYPE not a memfd (a file on disk or
 * of shm_open(3), a device, a pipe); -EBADF not open; -EACCES opened, mapped or sealed for reading
 * only without VDM_REGION_READONLY; -EFBIG longer than the file; -EEXIST this file is a region of
 * the client already, or another region lies at that address; -EDQUOT or -E2BIG over a limit;
 * -ENOMEM. vdm_last_error() names the rule.
 */
int vdm_region_import(struct vdm_client *client, int fd, void *address, size_t bytes,
		      unsigned flags, struct vdm_region **region);

/*
 * Make `length` bytes of a regular file, from byte `offset` on, a region. `offset` is a multiple of
 * the page size, `length` is not 0. Operations name byte n of the region by the address
 * vdm_region_address() + n: a copy to it is a write of the file, a copy from it a read, and a flush
 * of it an fdatasync(2) of the file. An operation may have such addresses on both sides, or memory
 * of any kind on the other one. A process of the daemon, the user's filer, carries these operations
 * out if both sides lie in regions that it knows. Else threads of this process do, so that no
 * daemon is needed, and vdm_ring_submit() does not wait for the file. Only rings of the client, and
 * movers that use it, know the region: other movers must not be given its addresses.
 *
 * The addresses are reserved, and the program must not touch them. With VDM_REGION_MAP the file is
 * mapped there with MAP_SHARED; a touch of a page behind the end of the file raises SIGBUS.
 *
 * VDM_SQE_DURABLE and VDM_F_MEM_DURABLE are for operations that write such a region: they complete
 * when fdatasync(2) has returned 0 after the write. If it fails, they fail, and so does every later
 * one of the file until all regions of it have been released.
 *
 * An operation that lies partly in a file region completes with -EFAULT, one that writes a region
 * with VDM_REGION_READONLY with -EACCES. Errors of the file system (-ENOSPC, -EDQUOT, -EFBIG, -EIO
 * and others) are the operation's result. If the file is shorter meanwhile, or the file system
 * fails, `value` of the completion is the number of bytes that have been moved.
 *
 * The library opens the file anew; the descriptor stays the caller's, and may be closed. It needs
 * O_RDWR, or O_RDONLY with VDM_REGION_READONLY. Several regions may be of one file. The program
 * ends the region with vdm_region_release(), and has ended all regions before vdm_client_close().
 * Any thread may call this at any time.
 *
 * Returns 0, or: -EBADF not open, or opened with O_PATH; -EISDIR a directory; -ESPIPE a pipe or
 * socket; -EMEDIUMTYPE another file that is not regular; -EOPNOTSUPP a file that the kernel makes
 * up (of proc(5), sysfs(5) and the like), or one opened with O_DIRECT; -EPERM opened with O_APPEND;
 * -EACCES opened for reading only, or sealed, without VDM_REGION_READONLY, or opened for writing
 * only; -EINVAL unknown or contradicting flags, a length of 0, or an offset that is no multiple of
 * the page size; -EFBIG longer than the file, without VDM_REGION_EXTEND; -EOVERFLOW the end is
 * behind the last byte that a file can have; -ENOMEM no memory or no addresses; -EMFILE;
 * -EOWNERDEAD. vdm_last_error() names the rule.
 */
int vdm_region_open_file(struct vdm_client *client, int fd, uint64_t offset, uint64_t length,
			 unsigned flags, struct vdm_region **region);

/*
 * Release the region: the daemon unmaps it, and this library too if it has mapped it. Operations on
 * it should have completed. Operations in progress, in the daemon or in another thread of this
 * process, end before this returns, so that nothing touches the memory any more. Operations that
 * the daemon has not begun complete with -EFAULT. (But one that still waits in this process, behind
 * a fence or for room in the ring, is carried out on what then lies at its address.) While
 * operations of this client are in flight, this waits for a stopped daemon until it goes on or
 * ends: it cannot be certain earlier. This also waits until the operations on files that threads of
 * this process have been given before are complete, which takes as long as the file system likes. A
 * file is not written back to storage. NULL is allowed. Returns 0 or -EOWNERDEAD.
 */
int vdm_region_release(struct vdm_region *region);

/* Where it begins, how many bytes it has, and its memfd or file (the library's; dup(2) to keep
 * it). */
void *vdm_region_address(const struct vdm_region *region);
size_t vdm_region_size(const struct vdm_region *region);
int vdm_region_fd(const struct vdm_region *region);

/* What the operations of all rings and movers of a client went through since it was opened. */
struct vdm_client_counters {
	size_t size;        /* set by the caller to sizeof(struct vdm_client_counters) */
	uint64_t offloaded; /* operations that went to the daemon */
	uint64_t offloaded_bytes;
	uint64_t local_small;        /* ran here: smaller than the threshold */
	uint64_t local_outside;      /* ran here: not in regions */
	uint64_t local_disconnected; /* ran here: no daemon */
	uint64_t local_bytes;        /* of the three together */
	uint64_t failed;             /* completed with an error, either lane */
	uint64_t doorbells;          /* system calls made because the daemon slept */
	uint64_t sleeps;             /* times that a wait of ours slept */
	/* of the offloaded: ran here, because the daemon had not begun them when a thread waited */
	uint64_t taken_back;
	/* Completed operations that concern files, or are linked to one that does; and the bytes
	 * that they moved. None of the above counts them, but `failed`. */
	uint64_t file_operations;
	uint64_t file_bytes;
	uint64_t file_offloaded; /* of these: the daemon's, and not threads' of this process */
	/* The daemon's death: how often a ring has got another daemon; and operations that were in
	 * flight then, which the next one carried out, or this process. */
	uint64_t reconnects;
	uint64_t repeated;
	uint64_t recovered_here;
	/* Rings and regions that the next daemon did not take, and times that a daemon did not take
	 * the client: local lane. */
	uint64_t refused;
};

/* Fill in `counters`. Returns 0, -EINVAL (size is zero) or -EOWNERDEAD. */
int vdm_client_counters(struct vdm_client *client, struct vdm_client_counters *counters);

#ifdef __cplusplus
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif
}
#endif
#endif
