/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/filer.c and daemon/file_region.c: a real filer in a child process, between a daemon and
 * clients that the test plays.
 */
#include "daemon/filer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "await.h"
#include "daemon/filer_message.h"
#include "op/files.h"
#include "proto/passing.h"
#include "tests/integration/raw_session.h"

#define PAGE ((size_t)4096)

static struct config config;
static int control; /* the daemon's end */
static pid_t filer_pid;
static struct files_counters *counters;

/* A client: its connection, its lease, and what tells the filer that its session has ended. */
static struct raw_session client;
static int lease, end;

static struct filer_message heard;

/* What the filer says next. */
static void listen_to_filer(uint32_t type)
{
	struct passing passing = {.bytes = &heard, .size = sizeof heard};

	assert_true(await_input(control));
	assert_int_equal(passing_receive(control, &passing, MSG_DONTWAIT), 0);
	assert_int_equal(passing.size, sizeof heard);
	assert_int_equal(heard.type, type);
}

static void begin(void)
{
	const struct filer_message message = {.type = FILER_BEGIN, .value = 50};
	int fd = memfd_create("counters", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, sizeof *counters), 0);
	counters = mmap(NULL, sizeof *counters, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(counters, MAP_FAILED);
	assert_int_equal(passing_send(control, &message, sizeof message, &fd, 1, 0), 0);
	close(fd);
	listen_to_filer(FILER_READY);
}

/* Have the filer serve a client, which has not greeted. */
static void admit(uint64_t session)
{
	struct filer_message message = {.type = FILER_CLIENT,
					.value = getpid(),
					.session = session,
					.client.user = config_for_user(&config, getuid()),
					.client.offload_threshold = 7};
	int sockets[2], ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);

	const int fds[FILER_CLIENT_FDS] = {[FILER_CLIENT_SOCKET] = sockets[1],
					   [FILER_CLIENT_END] = ends[1]};

	assert_int_equal(
		passing_send(control, &message, sizeof message, fds, FILER_CLIENT_FDS, 0), 0);
	close(sockets[1]);
	close(ends[1]);
	client.socket = sockets[0];
	end = ends[0];
}

static struct vdm_packet reply;

/* Returns 0, the error of the refusal, or that of the connection. */
static int ask(const void *message, int fd, uint32_t expected)
{
	const int result = raw_request(&client, message, &fd, fd >= 0, &reply);

	if (result)
		return result;
	if (reply.message.header.type == VDM_MESSAGE_REFUSED) {
		assert_true(memchr(reply.message.refused.text, '\0', VDM_REFUSAL_TEXT) &&
			    *reply.message.refused.text);
		return reply.message.refused.error;
	}
	assert_int_equal(reply.message.header.type, expected);
	return 0;
}

static void greet(void)
{
	const struct vdm_message_hello hello = {.header = {VDM_MESSAGE_HELLO, sizeof hello},
						.magic = VDM_PROTOCOL_MAGIC,
						.version = VDM_PROTOCOL_VERSION,
						.features = VDM_FEATURE_FILES,
						.command = "test"};

	assert_int_equal(ask(&hello, -1, VDM_MESSAGE_WELCOME), 0);
	assert_int_equal(reply.fd_count, VDM_WELCOME_FD_COUNT);
	client.welcome = reply.message.welcome;
	lease = reply.fds[VDM_WELCOME_FD_LEASE];
}

static int set_up(void **state)
{
	int ends[2];

	(void)state;
	config_defaults(&config);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	filer_pid = fork();
	if (filer_pid == 0) {
		close(ends[0]);
		filer_main(ends[1]);
	}
	close(ends[1]);
	control = ends[0];
	begin();
	admit(1);
	greet();
	return 0;
}

static int tear_down(void **state)
{
	int status;

	(void)state;
	close(client.socket);
	close(lease);
	close(end);
	close(control);
	AWAIT(waitpid(filer_pid, &status, WNOHANG) == filer_pid);
	assert_true(WIFEXITED(status));
	munmap(counters, sizeof *counters);
	config_free(&config);
	return 0;
}

/* An empty file that does not lie in memory. */
static int file_of(off_t size)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

/* The descriptor stays open. */
static int add_file(int fd, uint64_t offset, uint64_t size, uint32_t flags, uint32_t *region)
{
	const struct vdm_message_file_add add = {.header = {VDM_MESSAGE_FILE_ADD, sizeof add},
						 .offset = offset,
						 .size = size,
						 .flags = flags};
	int result = ask(&add, fd, VDM_MESSAGE_REGION_ADDED);

	if (!result) {
		assert_int_equal(reply.message.region_added.size, size);
		*region = reply.message.region_added.region;
	}
	return result;
}

static int remove_region(uint32_t region)
{
	const struct vdm_message_region_remove message = {
		.header = {VDM_MESSAGE_REGION_REMOVE, sizeof message}, .region = region};

	return ask(&message, -1, VDM_MESSAGE_DONE);
}

static int copy(struct raw_ring *ring, uint32_t destination, uint32_t source, size_t length,
		uint16_t flags)
{
	struct vdm_descriptor *descriptor = raw_entry(ring);
	struct vdm_completion completion;

	descriptor->opcode = VDM_OPCODE_MEMCPY;
	descriptor->flags = flags;
	descriptor->destination_region = destination;
	descriptor->source_region = source;
	descriptor->length = length;
	raw_publish(ring);
	assert_true(raw_await(&client, ring, &completion));
	return completion.result;
}

static void the_welcome_has_what_a_filer_has(void **state)
{
	(void)state;
	assert_true(client.welcome.features & VDM_FEATURE_FILES);
	assert_false(client.welcome.features & VDM_FEATURE_TAKE_BACK);
	assert_int_equal(client.welcome.offload_threshold, 7);
	assert_int_equal(client.welcome.max_regions, config.limits.regions_per_session);
}

static void memory_is_written_to_a_file_and_read_back(void **state)
{
	uint32_t memory, file;
	struct raw_ring ring;
	char *bytes = raw_region_add(&client, 2 * PAGE, 0, &memory), stored[PAGE];
	int fd = file_of((off_t)PAGE);

	(void)state;
	assert_int_equal(add_file(fd, 0, PAGE, 0, &file), 0);
	assert_int_equal(raw_ring_create(&client, 16, 0, &ring), 0);
	memset(bytes, 'w', PAGE);
	assert_int_equal(copy(&ring, file, memory, PAGE, VDM_DESCRIPTOR_DURABLE), 0);
	assert_int_equal(pread(fd, stored, PAGE, 0), PAGE);
	assert_memory_equal(stored, bytes, PAGE);
	assert_int_equal(atomic_load(&counters->syncs), 1);

	memset(stored, 'r', PAGE);
	assert_int_equal(pwrite(fd, stored, PAGE, 0), PAGE);
	assert_int_equal(copy(&ring, memory, file, PAGE, 0), 0);
	assert_memory_equal(bytes, stored, PAGE);
	assert_int_equal(atomic_load(&counters->operations), 2);
	assert_int_equal(atomic_load(&counters->bytes), 2 * PAGE);

	assert_int_equal(remove_region(file), 0);
	assert_int_equal(copy(&ring, memory, file, PAGE, 0), -EFAULT);
	raw_ring_forget(&ring);
	munmap(bytes, 2 * PAGE);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_welcome_has_what_a_filer_has),
		TEST(memory_is_written_to_a_file_and_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
