/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that lie in what they write into their ring: a bad descriptor is an operation that fails,
 * an impossible ring state ends that session, and in either case no other client notices.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "raw_session.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES ((size_t)64 << 10)

/* An honest client, which must not notice. */
static struct vdm_client *bystander;
static struct vdm_ring *bystander_ring;
static struct vdm_region *bystander_region;
static char *bystander_memory;

static int set_up(void **state)
{
	(void)state;
	bystander = client_opened();
	bystander_ring = ring_opened(bystander, 64, 0);
	bystander_memory = region_opened(bystander, BYTES, &bystander_region);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vdm_ring_close(bystander_ring);
	vdm_region_release(bystander_region);
	vdm_client_close(bystander);
	return 0;
}

static void bystander_submits(int value)
{
	for (unsigned i = 0; i < 64; i++) {
		struct vdm_sqe *sqe = entry(bystander_ring);

		vdm_prep_memset(sqe, bystander_memory + i * 64, value, 64, 0);
		sqe->user_data = i;
	}
	assert_int_equal(vdm_ring_submit(bystander_ring), 64);
}

static void bystander_is_well(int value)
{
	int32_t results[64];

	run_all(bystander_ring, 64, results, NULL);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(results[i], 0);
	for (unsigned i = 0; i < 64 * 64; i++)
		assert_int_equal(bystander_memory[i], value);
}

static void set(struct vdm_descriptor *d, uint32_t region, uint64_t offset, uint64_t length)
{
	d->opcode = VDM_OPCODE_MEMSET;
	d->destination_region = region;
	d->destination_offset = offset;
	d->length = length;
	d->pattern = 1;
}

static void copy(struct vdm_descriptor *d, uint32_t to, uint64_t dest, uint32_t from, uint64_t src,
		 uint64_t length)
{
	d->opcode = VDM_OPCODE_MEMCPY;
	d->destination_region = to;
	d->destination_offset = dest;
	d->source_region = from;
	d->source_offset = src;
	d->length = length;
}

struct lie {
	struct vdm_descriptor descriptor;
	int error;
};

/* Each is an honest memset but for what is said here; the regions are writable and read-only. */
static unsigned make_lies(struct lie *lies, uint32_t rw, uint32_t ro)
{
	unsigned n = 0;

#define LIE(result, ...)                                                                           \
	do {                                                                                       \
		struct vdm_descriptor *d = &lies[n].descriptor;                                    \
		memset(d, 0, sizeof *d);                                                           \
		set(d, rw, 0, 64);                                                                 \
		__VA_ARGS__;                                                                       \
		lies[n++].error = (result);                                                        \
	} while (0)
	LIE(-EINVAL, d->opcode = VDM_OPCODE_COUNT);
	LIE(-EINVAL, d->opcode = 255);
	LIE(-EINVAL, d->flags = 1 << 4);
	LIE(-EINVAL, d->flags = 1 << 15);
	LIE(-EINVAL, d->priority = 1);
	LIE(-EINVAL, d->reserved0 = 1);
	LIE(-EINVAL, d->reserved1 = 0x80000000);
	LIE(-EINVAL, d->pattern = 256);
	LIE(-EINVAL, d->pattern = UINT64_MAX);
	LIE(-EINVAL, d->source_region = rw);
	LIE(-EINVAL, d->source_offset = 1);
	LIE(-EINVAL, copy(d, rw, 0, rw, 0, 64));  /* with a pattern */
	LIE(-EINVAL, d->opcode = VDM_OPCODE_NOP); /* with a destination */
	LIE(-EOPNOTSUPP, d->flags = VDM_DESCRIPTOR_DURABLE);
	LIE(-EFAULT, d->destination_region = 0);
	LIE(-EFAULT, d->destination_region = UINT32_MAX);
	LIE(-EFAULT, d->destination_region = rw + 0x10000);
	LIE(-EFAULT, d->destination_region = rw & 0xffff);
	LIE(-EFAULT, d->destination_region = (rw & 0xffff0000) | 0xffff);
	LIE(-EFAULT, d->destination_region = rw + 1000);
	LIE(-EFAULT, d->destination_offset = BYTES - 63);
	LIE(-EFAULT, d->destination_offset = BYTES + 1, d->length = 0);
	LIE(-EFAULT, d->destination_offset = UINT64_MAX);
	LIE(-EFAULT, d->destination_offset = UINT64_MAX - 63);
	LIE(-EFAULT, d->destination_offset = (uint64_t)-64);
	LIE(-EFAULT, d->destination_offset = 1ull << 63);
	LIE(-EFAULT, d->length = BYTES + 1);
	LIE(-EFAULT, d->length = UINT64_MAX);
	LIE(-EFAULT, d->length = UINT64_MAX, d->destination_offset = 1);
	LIE(-EFAULT, d->length = 1ull << 63, d->destination_offset = 1ull << 63);
	LIE(-EFAULT, d->length = (uint64_t)-4096, d->destination_offset = 4096 + 64);
	LIE(-EACCES, d->destination_region = ro);
	LIE(-EACCES, d->pattern = 0, copy(d, ro, 0, rw, 0, 64));
	LIE(-EFAULT, d->pattern = 0, copy(d, rw, 0, rw, BYTES - 63, 64));
	LIE(-EFAULT, d->pattern = 0, copy(d, rw, 0, ro, UINT64_MAX, 64));
	LIE(-EFAULT, d->pattern = 0, copy(d, rw, 0, 0, 0, 64));
	LIE(-EFAULT, d->pattern = 0, copy(d, rw, 0, rw, 0, UINT64_MAX));
	LIE(-EFAULT, d->pattern = 0, copy(d, rw, 0, ro + 0x10000, 0, 64));
#undef LIE
	return n;
}

/* An honest operation before and after each lie is done, and every one completes exactly once (I5).
 */
static void i4_bad_descriptors_fail_and_the_rest_goes_on(void **state)
{
	struct lie lies[64];
	struct raw_session session;
	struct raw_ring ring;
	uint32_t rw, ro;

	(void)state;
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, 4, 0, &ring), 0);
	char *memory = raw_region_add(&session, BYTES, 0, &rw);

	raw_region_add(&session, BYTES, VDM_REGION_READ_ONLY, &ro);
	unsigned count = make_lies(lies, rw, ro);

	for (unsigned i = 0; i < count; i++) {
		struct vdm_completion completion;

		bystander_submits((int)i);
		memset(memory, 0, BYTES);
		set(raw_entry(&ring), rw, 1000, 1);
		raw_publish(&ring);
		memcpy(raw_entry(&ring), &lies[i].descriptor,
		       offsetof(struct vdm_descriptor, sequence));
		raw_publish(&ring);
		set(raw_entry(&ring), rw, 2000, 1);
		raw_publish(&ring);

		int expected[] = {0, lies[i].error, 0};

		for (unsigned n = 0; n < 3; n++) {
			assert_true(raw_await(&session, &ring, &completion));
			if (completion.result != expected[n])
				print_message("lie %u: %d, and %d was due\n", i, completion.result,
					      expected[n]);
			assert_int_equal(completion.result, expected[n]);
			assert_int_equal(completion.operation, ring.submitted - 3 + n);
		}
		assert_int_equal(memory[0], 0);
		assert_int_equal(memory[1000], 1);
		assert_int_equal(memory[2000], 1);
		bystander_is_well((int)i);
	}
	raw_ring_forget(&ring);
	raw_close(&session);
}

static void i4_a_failure_in_a_chain_cancels_the_rest_of_it(void **state)
{
	static const int results[] = {0, -EFAULT, -ECANCELED, -ECANCELED, 0};
	struct vdm_completion completion;
	struct raw_session session;
	struct raw_ring ring;
	uint32_t rw;

	(void)state;
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, 8, 0xfffffffe, &ring), 0);
	char *memory = raw_region_add(&session, BYTES, 0, &rw);

	for (unsigned i = 0; i < 5; i++) {
		struct vdm_descriptor *d = raw_entry(&ring);

		set(d, rw, i == 1 ? BYTES : i * 64, 64);
		d->flags = i < 3 ? VDM_DESCRIPTOR_LINK : 0;
		d->user_data = i;
		raw_publish(&ring);
	}
	for (unsigned i = 0; i < 5; i++) {
		assert_true(raw_await(&session, &ring, &completion));
		assert_int_equal(completion.user_data, i);
		assert_int_equal(completion.result, results[i]);
	}
	assert_int_equal(memory[0], 1);
	assert_int_equal(memory[2 * 64], 0);
	assert_int_equal(memory[3 * 64], 0);
	assert_int_equal(memory[4 * 64], 1);
	raw_ring_forget(&ring);
	raw_close(&session);
}

static bool userfaultfd_is_there(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Pages that a client punches out after their admission stay missing: vdmd is not charged for
 * them. */
static void punched_pages_stay_missing(void **state)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct vdm_completion completion;
	struct raw_session session;
	struct raw_ring ring;
	unsigned char resident;
	uint32_t rw;

	(void)state;
	if (!userfaultfd_is_there())
		skip();
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, 8, 0, &ring), 0);
	char *memory = raw_region_add(&session, 4 * page, 0, &rw);

	memset(memory, 5, 4 * page);
	assert_int_equal(madvise(memory + page, 2 * page, MADV_REMOVE), 0);
	for (unsigned i = 0; i < 4; i++) {
		set(raw_entry(&ring), rw, i * page, page);
		raw_publish(&ring);
		assert_true(raw_await(&session, &ring, &completion));
		assert_int_equal(completion.result, i == 1 || i == 2 ? -EFAULT : 0);
		assert_int_equal(mincore(memory + i * page, page, &resident), 0);
		assert_int_equal(resident & 1, i == 0 || i == 3);
	}
	memory[page] = 6; /* it allocates the page, which can be used again */
	set(raw_entry(&ring), rw, page, page);
	raw_publish(&ring);
	assert_true(raw_await(&session, &ring, &completion));
	assert_int_equal(completion.result, 0);
	assert_int_equal(memory[page], 1);
	raw_ring_forget(&ring);
	raw_close(&session);
}

/* Pages of a file that vdmd may only read stay missing, too: its reading does not allocate them. */
static void punched_pages_of_a_read_only_file_stay_missing(void **state)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct vdm_message_region_add request = {{VDM_MESSAGE_REGION_ADD, sizeof request},
						 .size = 2 * page,
						 .flags = VDM_REGION_READ_ONLY};
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct raw_session session;
	struct raw_ring ring;
	struct vdm_packet reply;
	char path[64];
	uint32_t rw;

	(void)state;
	if (!userfaultfd_is_there())
		skip();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int read_only = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(fallocate(fd, 0, 0, (off_t)(2 * page)), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, 8, 0, &ring), 0);
	char *memory = raw_region_add(&session, page, 0, &rw);

	assert_int_equal(raw_request(&session, &request.header, &read_only, 1, &reply), 0);
	assert_int_equal(reply.message.header.type, VDM_MESSAGE_REGION_ADDED);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page),
			 0);
	/* page, what is in it before, and the result; what is written later is seen */
	static const struct {
		unsigned page;
		const char *text;
		int result;
	} copies[] = {{1, "x", 0}, {0, NULL, -EFAULT}, {1, "y", 0}};

	for (unsigned i = 0; i < sizeof copies / sizeof *copies; i++) {
		const off_t offset = (off_t)(copies[i].page * page);
		struct vdm_descriptor *d = raw_entry(&ring);
		struct vdm_completion completion;

		if (copies[i].text)
			assert_int_equal(pwrite(fd, copies[i].text, 1, offset), 1);
		d->opcode = VDM_OPCODE_MEMCPY;
		d->source_region = reply.message.region_added.region;
		d->source_offset = (uint64_t)offset;
		d->destination_region = rw;
		d->length = page;
		raw_publish(&ring);
		assert_true(raw_await(&session, &ring, &completion));
		assert_int_equal(completion.result, copies[i].result);
		if (copies[i].text)
			assert_int_equal(memory[0], *copies[i].text);
	}

	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_blocks * 512, page);
	raw_ring_forget(&ring);
	raw_close(&session);
	close(read_only);
	close(fd);
}

static void i4_a_sequence_jump_ends_that_session_alone(void **state)
{
	static const uint32_t jumps[] = {0, 2, 3, 5, 0x80000000, 0xffffffff, (uint32_t)1 - 8};

	(void)state;
	for (unsigned i = 0; i < sizeof jumps / sizeof *jumps; i++) {
		uint64_t violated = daemon_figures().violated;
		uint32_t sessions = daemon_figures().sessions;
		struct raw_session session;
		struct raw_ring ring;
		uint32_t rw;

		raw_open(&session);
		assert_int_equal(raw_ring_create(&session, 4, 0, &ring), 0);
		raw_region_add(&session, BYTES, 0, &rw);
		bystander_submits((int)i);
		set(raw_entry(&ring), rw, 0, 64);
		raw_publish_as(&ring, jumps[i]);
		/* also when it found the slot empty before, it is told to look again */
		send(ring.fds[VDM_RING_FD_DOORBELL], "doorbell", 8, MSG_NOSIGNAL | MSG_DONTWAIT);
		raw_await_end(&session);
		bystander_is_well((int)i);
		raw_ring_forget(&ring);
		raw_close(&session);
		await_sessions(sessions);
		assert_int_equal(daemon_figures().violated, violated + 1);
	}
}

/* The third of a ring of two lies where the first was, which the daemon has not looked at yet. */
static void i2_more_in_flight_than_entries_ends_that_session_alone(void **state)
{
	uint64_t violated = daemon_figures().violated;
	uint32_t sessions = daemon_figures().sessions;
	struct raw_session session;
	struct raw_ring ring;
	uint32_t region;

	(void)state;
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, 2, 0, &ring), 0);
	char *memory = raw_region_add(&session, BYTES, 0, &region);

	bystander_submits(1);
	daemon_freeze();
	for (unsigned i = 0; i < 3; i++) {
		set(raw_entry(&ring), region, i * 64, 64);
		raw_publish(&ring);
	}
	daemon_thaw();
	raw_await_end(&session);
	for (unsigned i = 0; i < BYTES; i++)
		assert_int_equal(memory[i], 0);
	bystander_is_well(1);
	raw_ring_forget(&ring);
	munmap(memory, BYTES);
	raw_close(&session);
	await_sessions(sessions);
	assert_int_equal(daemon_figures().violated, violated + 1);
}

/* Good and bad, short and long ones mixed. */
static void i5_every_operation_completes_once_with_its_user_data(void **state)
{
	const unsigned total = (unsigned)scaled(100000), entries = 64;
	struct raw_session session;
	struct raw_ring ring;
	uint32_t rw, next = 0;
	unsigned char *seen = calloc(total, 1);

	(void)state;
	assert_non_null(seen);
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, entries, 0, &ring), 0);
	raw_region_add(&session, BYTES, 0, &rw);
	for (unsigned done = 0; done < total;) {
		struct vdm_completion completion;

		while (next < total && next - done < entries) {
			struct vdm_descriptor *d = raw_entry(&ring);

			set(d, next % 5 ? rw : rw + 7, (next * 977) % BYTES,
			    next % 3    ? 100
			    : next % 11 ? 0
					: 40000);
			d->flags = next % 17 ? 0 : VDM_DESCRIPTOR_FENCE;
			d->user_data = next++;
			raw_publish(&ring);
		}
		assert_true(raw_await(&session, &ring, &completion));
		assert_true(completion.user_data < next);
		assert_int_equal(seen[completion.user_data]++, 0);
		assert_int_equal(completion.operation, completion.user_data);
		assert_int_equal(completion.flags, 0);

		uint32_t n = (uint32_t)completion.user_data;
		uint64_t length = n % 3 ? 100 : n % 11 ? 0 : 40000;
		bool good = n % 5 && (n * 977) % BYTES + length <= BYTES;

		assert_int_equal(completion.result, good ? 0 : -EFAULT);
		assert_int_equal(completion.value, good ? length : 0);
		done++;
	}
	free(seen);
	raw_ring_forget(&ring);
	raw_close(&session);
}

/* The only child of a process, proc(5); or the last one. */
static pid_t child_of(pid_t parent)
{
	char path[64];
	int child = 0;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);

	FILE *file = fopen(path, "re");

	while (file && fscanf(file, "%d", &child) == 1)
		;
	if (file)
		fclose(file);
	return child;
}

/* Publish one operation when the daemon has left the ring, and ring. Returns what send(2) does. */
static ssize_t wake_daemon(struct raw_ring *ring)
{
	const struct vdm_daemon_line *line = ring->completion;
	uint32_t wanted;

	/* and no worker is at its last look any more, most likely */
	while (!(wanted = atomic_load(&line->doorbell_wanted)) || usleep(1000) < 0)
		sched_yield();
	ring->rung = wanted; /* or raw_publish() would ring */
	raw_entry(ring)->opcode = VDM_OPCODE_NOP;
	raw_publish(ring);
	return send(ring->fds[VDM_RING_FD_DOORBELL], "doorbell", 8, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/*
 * A porter receives what is in the doorbells, and may be slow at that. One that is full takes no
 * more, but what was published for it is not forgotten (I6).
 */
static void i6_a_full_doorbell_is_heard_when_it_is_emptied(void **state)
{
	const pid_t porter = child_of(child_of((pid_t)atoi(getenv("VDM_DAEMON_PID"))));
	struct vdm_completion completion;
	struct raw_session session;
	struct raw_ring ring;

	(void)state;
	if (porter == 0) {
		print_message("this kernel does not tell the children of a process\n");
		skip();
	}
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, 64, 0, &ring), 0);
	/* the porter has to pass on that the ring is started */
	raw_entry(&ring)->opcode = VDM_OPCODE_NOP;
	raw_publish(&ring);
	assert_true(raw_await(&session, &ring, &completion));
	for (unsigned rounds = 0; rounds < 3; rounds++) {
		kill(porter, SIGSTOP);
		while (wake_daemon(&ring) > 0)
			assert_true(raw_await(&session, &ring, &completion));
		assert_int_equal(errno, EAGAIN);
		kill(porter, SIGCONT);
		assert_true(raw_await(&session, &ring, &completion));
	}
	raw_ring_forget(&ring);
	raw_close(&session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i2_more_in_flight_than_entries_ends_that_session_alone),
		cmocka_unit_test(i4_bad_descriptors_fail_and_the_rest_goes_on),
		cmocka_unit_test(i4_a_failure_in_a_chain_cancels_the_rest_of_it),
		cmocka_unit_test(punched_pages_stay_missing),
		cmocka_unit_test(punched_pages_of_a_read_only_file_stay_missing),
		cmocka_unit_test(i4_a_sequence_jump_ends_that_session_alone),
		cmocka_unit_test(i5_every_operation_completes_once_with_its_user_data),
		cmocka_unit_test(i6_a_full_doorbell_is_heard_when_it_is_emptied),
	};

	guard_against_hanging(90);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
