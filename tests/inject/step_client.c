/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * As soon as an operation is complete, the client checks what it has written, and overwrites both
 * ranges with a mark. Nothing may write them afterwards.
 */
#include "step_client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "ring_use.h"

#define ENTRIES 16
#define SMALL   ((size_t)64)
#define SLOT    ((size_t)80 << 10) /* two pieces, if another ring is polled (engine/pieces.h) */
#define IN_FILE ((size_t)700)      /* of an operation on files */
#define HANG_S  100
#define MARK    ((char)0xee) /* what the client writes when an operation is complete */

/* Operations by user_data; each has a destination and a source. Those on files come last. */
enum {
	PLAIN,
	FIRST, /* of a chain, whose second part sets the source of the first */
	SECOND,
	THIRD,
	FENCED,
	SET,
	LARGE,
	WRITE, /* of another chain: to a file, from there to another, and back */
	COPY,
	READ,
	DURABLE,
	FENCED_READ,
	OPERATIONS
};
#define BIT(operation)   (1u << (operation))
#define SMALL_OPERATIONS (BIT(LARGE) - 1)
#define FILE_OPERATIONS  (BIT(OPERATIONS) - BIT(WRITE))

#define MEMORY (2 * OPERATIONS * SLOT)

struct user {
	struct vdm_client *client;
	struct vdm_ring *ring, *other_ring;
	struct vdm_region *region;
	char *memory;
	unsigned file_count; /* 0 or 2 */
	struct vdm_region *file_regions[2];
	int files[2];
	char *in_file[2];
	unsigned way;
	struct step_figures *figures;
};

static char *dest(const struct user *user, unsigned operation)
{
	return user->memory + 2 * operation * SLOT;
}

static char *source(const struct user *user, unsigned operation)
{
	return dest(user, operation) + SLOT;
}

static off_t position(unsigned operation)
{
	return operation * 1000;
}

static size_t length(unsigned operation)
{
	return operation < LARGE ? SMALL : operation == LARGE ? SLOT : IN_FILE;
}

static void fill(char *memory, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		memory[i] = (char)(seed * 7 + i * 31 + (i >> 8));
}

static void check_filled(const char *memory, unsigned operation, const char *what)
{
	static char expected[SLOT];

	fill(expected, length(operation), operation);
	CHECK(memcmp(memory, expected, length(operation)) == 0, "operation %u: %s", operation,
	      what);
}

static void check_all(const char *memory, size_t bytes, char value, const char *what)
{
	CHECK(memory[0] == value && memcmp(memory, memory + 1, bytes - 1) == 0, "%s", what);
}

static void check_in_file(int file, unsigned operation, const char *what)
{
	char found[IN_FILE];

	CHECK(pread(file, found, IN_FILE, position(operation)) == IN_FILE, "%s", strerror(errno));
	check_filled(found, operation, what);
}

static void mark(char *memory, unsigned operation)
{
	memset(memory, MARK, length(operation));
}

static void mark_in_file(int file, unsigned operation)
{
	char marks[IN_FILE];

	memset(marks, MARK, IN_FILE);
	CHECK(pwrite(file, marks, IN_FILE, position(operation)) == IN_FILE, "%s", strerror(errno));
}

static void prepare(const struct user *user, struct vdm_sqe *sqe, unsigned operation)
{
	const size_t n = length(operation);
	char *const to = dest(user, operation), *const from = source(user, operation);
	char *in_file = user->file_count > 0 ? user->in_file[0] + position(operation) : NULL;
	char bytes[IN_FILE];

	sqe->user_data = operation;
	fill(from, n, operation);
	switch (operation) {
	case SECOND:
		mark(from, operation);
		vdm_prep_memset(sqe, source(user, FIRST), 's', n, VDM_SQE_LINK);
		break;
	case THIRD:
		mark(from, operation);
		vdm_prep_memcpy(sqe, to, source(user, FIRST), n, 0);
		break;
	case SET:
		mark(from, operation);
		vdm_prep_memset(sqe, to, 't', n, 0);
		break;
	case WRITE:
		vdm_prep_memcpy(sqe, in_file, from, n, VDM_SQE_LINK);
		break;
	case COPY:
		mark(from, operation);
		vdm_prep_memcpy(sqe, user->in_file[1] + position(WRITE),
				user->in_file[0] + position(WRITE), n, VDM_SQE_LINK);
		break;
	case READ:
		mark(from, operation);
		vdm_prep_memcpy(sqe, to, user->in_file[1] + position(WRITE), n, 0);
		break;
	case DURABLE:
		vdm_prep_memcpy(sqe, in_file, from, n, VDM_SQE_DURABLE);
		break;
	case FENCED_READ:
		mark(from, operation);
		fill(bytes, n, operation);
		CHECK(pwrite(user->files[0], bytes, n, position(operation)) == (ssize_t)n, "%s",
		      strerror(errno));
		vdm_prep_memcpy(sqe, to, in_file, n, VDM_SQE_FENCE);
		break;
	default:
		vdm_prep_memcpy(sqe, to, from, n,
				operation == FIRST    ? VDM_SQE_LINK
				: operation == FENCED ? VDM_SQE_FENCE
						      : 0);
	}
}

static void complete(const struct user *user, unsigned operation)
{
	char *const to = dest(user, operation);

	switch (operation) {
	case FIRST:
		check_filled(to, FIRST, "wrong bytes");
		break; /* its source is still in use */
	case SECOND:
	case COPY:
		return;
	case THIRD:
		check_all(to, SMALL, 's', "the third of a chain");
		check_all(source(user, FIRST), SMALL, 's', "the second of a chain");
		mark(source(user, FIRST), FIRST);
		break;
	case SET:
		check_all(to, SMALL, 't', "set");
		break;
	case WRITE:
		return; /* what it has written is still in use */
	case READ:
		check_filled(source(user, WRITE), WRITE, "a source has changed");
		CHECK(memcmp(to, source(user, WRITE), IN_FILE) == 0, "wrong bytes were read");
		check_in_file(user->files[0], WRITE, "wrong bytes were written");
		check_in_file(user->files[1], WRITE, "wrong bytes in the other file");
		mark(source(user, WRITE), WRITE);
		mark_in_file(user->files[0], WRITE);
		mark_in_file(user->files[1], WRITE);
		break;
	case DURABLE:
		check_in_file(user->files[0], DURABLE, "wrong bytes were written");
		mark(source(user, DURABLE), DURABLE);
		mark_in_file(user->files[0], DURABLE);
		break;
	case FENCED_READ:
		check_filled(to, FENCED_READ, "wrong bytes were read");
		mark_in_file(user->files[0], FENCED_READ);
		break;
	default:
		check_filled(to, operation, "wrong bytes");
		mark(source(user, operation), operation);
	}
	mark(to, operation);
}

static void submit(const struct user *user, struct vdm_ring *ring, unsigned operations)
{
	int count = 0;

	for (unsigned i = 0; i < OPERATIONS; i++)
		if (operations & BIT(i)) {
			prepare(user, entry(ring), i);
			count++;
		}
	CHECK(vdm_ring_submit(ring) == count, "submitting");
}

static struct vdm_cqe *next_completion(const struct user *user, struct vdm_ring *ring)
{
	const struct timespec hour = {.tv_sec = 3600};
	struct pollfd fd = {.events = POLLIN};
	struct vdm_cqe *cqe = NULL;

	switch (user->way) {
	case 0:
		CHECK(vdm_ring_wait_cqe(ring, &cqe) == 0, "a wait");
		break;
	case 1:
		CHECK(vdm_ring_wait_cqes(ring, &cqe, 1, &hour) == 0, "a timed wait");
		break;
	case 2:
		while (vdm_ring_peek_cqe(ring, &cqe) == -EAGAIN)
			;
		break;
	default: /* the descriptor changes how a wait works, so the others have not asked for it */
		fd.fd = vdm_ring_eventfd(ring);
		while (vdm_ring_peek_cqe(ring, &cqe) == -EAGAIN)
			CHECK(poll(&fd, 1, -1) == 1, "%s", strerror(errno));
	}
	return cqe;
}

static void collect(const struct user *user, struct vdm_ring *ring, unsigned operations)
{
	unsigned left = operations;
	struct vdm_cqe *cqe;

	while (left) {
		cqe = next_completion(user, ring);

		const unsigned i = (unsigned)cqe->user_data;

		CHECK(cqe->result == 0, "operation %u: %s", i, strerror(-cqe->result));
		CHECK(cqe->user_data < OPERATIONS && (left & BIT(i)),
		      "an operation completed twice");
		left &= ~BIT(i);
		CHECK((i != FENCED && i != FENCED_READ) || !(left & (BIT(i) - 1)),
		      "a fence was passed");
		complete(user, i);
		vdm_ring_cqe_seen(ring, cqe);
	}
	CHECK(vdm_ring_peek_cqe(ring, &cqe) == -EAGAIN, "a completion too many");
}

static void run(const struct user *user, unsigned operations)
{
	submit(user, user->ring, operations);
	collect(user, user->ring, operations);
}

static void run_large(const struct user *user)
{
	const unsigned operations = BIT(LARGE) | BIT(PLAIN);

	submit(user, user->other_ring, BIT(SET));
	submit(user, user->ring, operations);
	collect(user, user->ring, operations);
	collect(user, user->other_ring, BIT(SET));
}

static struct vdm_ring *new_ring(struct vdm_client *client)
{
	const struct vdm_options options = {.size = sizeof options,
					    .entries = ENTRIES,
					    .spin_us = VDM_NO_SPIN,
					    .first_sequence = UINT32_MAX - 5};
	struct vdm_ring *ring = NULL;

	CHECK(vdm_ring_open(client, &options, &ring) == 0, "opening a ring");
	return ring;
}

static void open_file(struct user *user, unsigned i)
{
	char path[] = "/tmp/vdmd-step-XXXXXX", marks[OPERATIONS * 1000];

	memset(marks, MARK, sizeof marks);
	user->files[i] = mkstemp(path);
	CHECK(user->files[i] >= 0 && unlink(path) == 0 &&
		      pwrite(user->files[i], marks, sizeof marks, 0) == sizeof marks,
	      "%s", strerror(errno));
	CHECK(vdm_region_open_file(user->client, user->files[i], 0, sizeof marks, 0,
				   &user->file_regions[i]) == 0,
	      "a region of a file");
	user->in_file[i] = vdm_region_address(user->file_regions[i]);
}

static void close_file(struct user *user, unsigned i)
{
	char found[OPERATIONS * 1000];

	CHECK(pread(user->files[i], found, sizeof found, 0) == sizeof found, "%s", strerror(errno));
	check_all(found, sizeof found, MARK, "a file was written after its operations");
	vdm_region_release(user->file_regions[i]);
	close(user->files[i]);
}

static void connect_client(struct user *user)
{
	const struct vdm_options options = {.size = sizeof options, .offload_threshold = 1};

	CHECK(vdm_client_open(&options, &user->client) == 0, "opening a client");
}

static void open_regions(struct user *user)
{
	user->memory = region_opened(user->client, MEMORY, &user->region);
	memset(user->memory, MARK, MEMORY);
	for (unsigned i = 0; i < user->file_count; i++)
		open_file(user, i);
}

static void open_rings(struct user *user)
{
	user->ring = new_ring(user->client);
	user->other_ring = new_ring(user->client);
}

static void operate(struct user *user)
{
	run(user, SMALL_OPERATIONS | (user->file_count > 0 ? FILE_OPERATIONS : 0));
}

static void close_rings(struct user *user)
{
	vdm_ring_close(user->ring);
	vdm_ring_close(user->other_ring);
}

static void close_regions(struct user *user)
{
	check_all(user->memory, MEMORY, MARK, "written after its operation");
	vdm_region_release(user->region);
	for (unsigned i = 0; i < user->file_count; i++)
		close_file(user, i);
}

static void disconnect_client(struct user *user)
{
	const struct vdm_client_counters counters = counters_of(user->client);
	struct step_figures *figures = user->figures;

	CHECK(counters.failed == 0, "operations have failed");
	/* relaxed; partner: the test, when this process has ended */
	atomic_fetch_add_explicit(&figures->reconnects, counters.reconnects, memory_order_relaxed);
	atomic_fetch_add_explicit(&figures->repeated, counters.repeated, memory_order_relaxed);
	atomic_fetch_add_explicit(&figures->recovered_here, counters.recovered_here,
				  memory_order_relaxed);
	if (user->way < STEP_PATIENT_WAYS)
		atomic_fetch_add_explicit(&figures->outlived_two, counters.recovered_here,
					  memory_order_relaxed);
	vdm_client_close(user->client);
}

static void (*const parts[PARTS])(struct user *) = {
	[PART_CONNECT] = connect_client,
	[PART_REGIONS] = open_regions,
	[PART_RINGS] = open_rings,
	[PART_OPERATIONS] = operate,
	[PART_CLOSE_RINGS] = close_rings,
	[PART_CLOSE_REGIONS] = close_regions,
	[PART_DISCONNECT] = disconnect_client,
};

/* From a part on, before another one. */
static void do_parts(struct user *user, enum step_part from, enum step_part before)
{
	for (enum step_part part = from; part < before; part++)
		parts[part](user);
}

static void act(struct user *user, const struct step_plan *plan)
{
	switch (plan->act) {
	case ACT_BATCH:
		run(user, SMALL_OPERATIONS);
		break;
	case ACT_LARGE:
		run_large(user);
		break;
	case ACT_FILES:
		run(user, FILE_OPERATIONS);
		break;
	default:
		do_parts(user, plan->part, plan->part + 1);
	}
}

void step_client(unsigned way, void *argument)
{
	const struct step_plan *plan = argument;
	const bool visits = plan->act == ACT_VISIT || plan->act == ACT_FILES_VISIT;
	struct user user = {.way = way, .figures = plan->figures}, visitor = user;

	alarm(HANG_S);
	if (plan->act == ACT_FILES)
		user.file_count = 2;
	if (plan->act == ACT_FILES_VISIT)
		user.file_count = visitor.file_count = 2;
	if (!plan->fresh) /* and the daemon's symbols are bound */
		do_parts(&user, PART_CONNECT, PART_CLOSE_RINGS);
	if (visits)
		do_parts(&visitor, PART_CONNECT, plan->part);
	raise(SIGSTOP);
	act(visits ? &visitor : &user, plan);
	raise(SIGSTOP);
	if (visits)
		do_parts(&visitor, plan->part + 1, PARTS);
	if (plan->fresh)
		do_parts(&user, PART_CONNECT, PARTS);
	else
		do_parts(&user, PART_OPERATIONS, PARTS);
}

void step_keeper(unsigned unused, void *unused_too)
{
	struct vdm_client *client = client_opened();

	(void)unused;
	(void)unused_too;
	raise(SIGSTOP);
	vdm_client_close(client);
}
