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

	const int fds[FILER_CLIENT_FDS] = {
		[FILER_CLIENT_SOCKET] = sockets[1], [FILER_CLIENT_END] = ends[1]};

	assert_int_equal(passing_send(control, &message, sizeof message, fds, FILER_CLIENT_FDS, 0),
			 0);
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

static int set(struct raw_ring *ring, uint32_t destination, uint8_t byte, size_t length)
{
	struct vdm_descriptor *descriptor = raw_entry(ring);
	struct vdm_completion completion;

	descriptor->opcode = VDM_OPCODE_MEMSET;
	descriptor->pattern = byte;
	descriptor->destination_region = destination;
	descriptor->length = length;
	raw_publish(ring);
	assert_true(raw_await(&client, ring, &completion));
	return completion.result;
}

/* io_uring does neither: threads are started for them. */
static void files_are_filled_and_copied_by_threads(void **state)
{
	uint32_t first, second;
	struct raw_ring ring;
	char expected[PAGE], stored[PAGE];
	int source = file_of((off_t)PAGE), destination = file_of(0);

	(void)state;
	memset(expected, 'f', PAGE);
	assert_int_equal(add_file(source, 0, PAGE, 0, &first), 0);
	assert_int_equal(add_file(destination, 0, PAGE, VDM_REGION_EXTEND, &second), 0);
	assert_int_equal(raw_ring_create(&client, 16, 0, &ring), 0);
	assert_int_equal(set(&ring, first, 'f', PAGE), 0);
	assert_int_equal(copy(&ring, second, first, PAGE, 0), 0);
	assert_int_equal(pread(destination, stored, PAGE, 0), PAGE);
	assert_memory_equal(stored, expected, PAGE);
	raw_ring_forget(&ring);
	close(source);
	close(destination);
}

static void a_region_that_is_read_only_is_not_written(void **state)
{
	uint32_t memory, file;
	struct raw_ring ring;
	char *bytes = raw_region_add(&client, PAGE, 0, &memory);
	int fd = file_of((off_t)PAGE);

	(void)state;
	assert_int_equal(add_file(fd, 0, PAGE, VDM_REGION_READ_ONLY, &file), 0);
	assert_int_equal(raw_ring_create(&client, 16, 0, &ring), 0);
	assert_int_equal(copy(&ring, file, memory, PAGE, 0), -EACCES);
	assert_int_equal(copy(&ring, memory, file, PAGE, 0), 0);
	raw_ring_forget(&ring);
	munmap(bytes, PAGE);
	close(fd);
}

/* The program has the same file in several regions, and truncates it. */
static void parts_of_one_file_are_regions_of_their_own(void **state)
{
	uint32_t memory, first, second;
	struct raw_ring ring;
	char *bytes = raw_region_add(&client, PAGE, 0, &memory);
	int fd = file_of(2 * (off_t)PAGE);

	(void)state;
	assert_int_equal(add_file(fd, 0, PAGE, 0, &first), 0);
	assert_int_equal(add_file(fd, PAGE, PAGE, 0, &second), 0);
	assert_int_not_equal(first, second);
	assert_int_equal(raw_ring_create(&client, 16, 0, &ring), 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(copy(&ring, memory, first, PAGE, 0), 0);
	assert_true(copy(&ring, memory, second, PAGE, 0) < 0);
	assert_int_equal(remove_region(first), 0);
	assert_int_equal(remove_region(second), 0);
	raw_ring_forget(&ring);
	munmap(bytes, PAGE);
	close(fd);
}

/* The descriptor is the test's last one of its file. */
static void refused(int fd, uint64_t offset, uint64_t size, uint32_t flags, int error)
{
	unsigned descriptors;
	uint32_t region;

	assert_true(fd >= 0);
	assert_int_equal(remove_region(0), -ENOENT); /* it has done all else */
	descriptors = count_fds_of(filer_pid);
	assert_int_equal(add_file(fd, offset, size, flags, &region), error);
	close(fd);
	assert_int_equal(count_fds_of(filer_pid), descriptors);
}

static int open_pipe(void)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	return ends[0];
}

static int open_with(int flags)
{
	char path[] = "filer-XXXXXX";
	int fd = mkstemp(path), result;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	result = open(path, flags | O_CLOEXEC);
	close(fd);
	unlink(path);
	return result;
}

static void what_is_no_file_of_a_device_is_refused(void **state)
{
	int memfd = memfd_create("file", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(memfd, PAGE), 0);
	refused(memfd, 0, PAGE, 0, -EOPNOTSUPP);
	refused(open_pipe(), 0, PAGE, VDM_REGION_READ_ONLY, -ESPIPE);
	refused(fcntl(end, F_DUPFD_CLOEXEC, 0), 0, PAGE, 0, -ESPIPE);
	refused(fcntl(client.socket, F_DUPFD_CLOEXEC, 0), 0, PAGE, 0, -ESPIPE);
	refused(open(".", O_RDONLY | O_CLOEXEC), 0, PAGE, VDM_REGION_READ_ONLY, -EISDIR);
	refused(open("/dev/null", O_RDWR | O_CLOEXEC), 0, PAGE, 0, -EMEDIUMTYPE);
	refused(open("/proc/self/mem", O_RDWR | O_CLOEXEC), 0, PAGE, 0, -EOPNOTSUPP);
}

static void rights_of_a_descriptor_hold(void **state)
{
	(void)state;
	refused(open_with(O_PATH), 0, PAGE, VDM_REGION_READ_ONLY, -EBADF);
	refused(open_with(O_WRONLY), 0, PAGE, 0, -EACCES);
	refused(open_with(O_RDONLY), 0, PAGE, 0, -EACCES);
	refused(open_with(O_RDWR | O_APPEND), 0, PAGE, 0, -EPERM);
	refused(open_with(O_RDWR | O_DIRECT), 0, PAGE, 0, -EOPNOTSUPP);
}

static void ranges_are_checked(void **state)
{
	(void)state;
	refused(file_of((off_t)PAGE), 0, 0, 0, -EINVAL);
	refused(file_of((off_t)PAGE), 1, PAGE, VDM_REGION_EXTEND, -EINVAL);
	refused(file_of((off_t)PAGE), 0, PAGE + 1, 0, -EFBIG);
	refused(file_of((off_t)PAGE), 0, PAGE, VDM_REGION_EXTEND | VDM_REGION_READ_ONLY, -EINVAL);
	refused(file_of((off_t)PAGE), PAGE, INT64_MAX, VDM_REGION_EXTEND, -EOVERFLOW);
	/* there are not so many addresses */
	refused(file_of((off_t)PAGE), 0, INT64_MAX, VDM_REGION_EXTEND, -ENOMEM);
}

static int add_memory(int fd, uint32_t flags)
{
	const struct vdm_message_region_add add = {
		.header = {VDM_MESSAGE_REGION_ADD, sizeof add}, .size = PAGE, .flags = flags};

	return ask(&add, fd, VDM_MESSAGE_REGION_ADDED);
}

static void memory_has_to_be_a_memfd(void **state)
{
	int file = file_of((off_t)PAGE), pipe_end = open_pipe(),
	    memfd = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	unsigned descriptors;

	(void)state;
	assert_int_equal(remove_region(0), -ENOENT); /* it has done all else */
	descriptors = count_fds_of(filer_pid);
	assert_int_equal(add_memory(file, 0), -EMEDIUMTYPE);
	assert_int_equal(add_memory(pipe_end, 0), -EACCES);
	assert_int_equal(add_memory(pipe_end, VDM_REGION_READ_ONLY), -EMEDIUMTYPE);
	assert_int_equal(fallocate(memfd, 0, 0, PAGE), 0);
	assert_int_equal(add_memory(memfd, 0), -EPERM);
	assert_int_equal(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(add_memory(memfd, 0), 0);
	assert_int_equal(add_memory(memfd, 0), -EEXIST);
	/* the descriptor is closed when the pages are mapped */
	AWAIT(count_fds_of(filer_pid) == descriptors);
	close(file);
	close(pipe_end);
	close(memfd);
}

static void regions_are_counted(void **state)
{
	uint32_t region, last = 0;
	uint64_t count;
	int result = 0, fd = file_of((off_t)PAGE);

	(void)state;
	for (count = 0; !result && count <= config.limits.regions_per_session; count++) {
		result = add_file(fd, 0, PAGE, 0, &region);
		last = result ? last : region;
	}
	assert_int_equal(result, -E2BIG);
	assert_int_equal(count, config.limits.regions_per_session + 1);
	assert_int_equal(remove_region(last), 0);
	assert_int_equal(remove_region(last), -ENOENT);
	assert_int_equal(add_file(fd, 0, PAGE, 0, &region), 0);
	close(fd);
}

/* See that the client has been hung up on, the filer tells why, and serves others. */
static void violated(const char *word)
{
	assert_true(await_input(lease));
	assert_true(is_hung_up(lease));
	listen_to_filer(FILER_VIOLATED);
	assert_int_equal(heard.session, 1);
	if (!strstr(heard.reason, word))
		fail_msg("%s; expected %s", heard.reason, word);
	close(client.socket);
	close(lease);
	close(end);
	admit(1);
	greet();
}

static void send_message(const void *message, const int *fds, unsigned count)
{
	assert_int_equal(vdm_packet_send(client.socket, message, fds, count), 0);
}

static void violations_of_the_form_end_the_connection(void **state)
{
	struct vdm_message_file_add add = {.header = {VDM_MESSAGE_FILE_ADD, sizeof add},
					   .size = PAGE};
	const struct vdm_message_status status = {.header = {VDM_MESSAGE_STATUS, sizeof status}};
	const struct vdm_message_files files = {{VDM_MESSAGE_FILES, sizeof files}};
	const struct vdm_message_hello hello = {.header = {VDM_MESSAGE_HELLO, sizeof hello},
						.magic = VDM_PROTOCOL_MAGIC,
						.version = VDM_PROTOCOL_VERSION};
	const int fd = file_of((off_t)PAGE), fds[] = {fd, fd};

	(void)state;
	send_message(&status, NULL, 0);
	violated("type");
	send_message(&files, NULL, 0);
	violated("type");
	send_message(&hello, NULL, 0);
	violated("twice");
	send_message(&add, NULL, 0);
	violated("number of descriptors");
	send_message(&add, fds, 2);
	violated("number of descriptors");
	add.reserved = 1;
	send_message(&add, &fd, 1);
	violated("reserved");
	add.reserved = 0;
	add.flags = 4;
	send_message(&add, &fd, 1);
	violated("reserved");
	add.header.size--;
	send_message(&add, &fd, 1);
	violated("size");
	close(fd);
}

static void answers_with_descriptors_have_to_be_read(void **state)
{
	const struct vdm_message_ring_create create = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof create}, .entries = 16};

	(void)state;
	send_message(&create, NULL, 0);
	assert_true(await_input(client.socket));
	send_message(&create, NULL, 0);
	listen_to_filer(FILER_VIOLATED);
	assert_non_null(strstr(heard.reason, "without having read"));
	assert_true(await_input(lease));
	assert_true(is_hung_up(lease));
}

static void a_request_before_the_greeting_ends_the_connection(void **state)
{
	const struct vdm_message_ring_create create = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof create}, .entries = 16};

	(void)state;
	close(client.socket);
	close(lease);
	close(end);
	admit(1);
	lease = -1;
	send_message(&create, NULL, 0);
	listen_to_filer(FILER_VIOLATED);
	assert_non_null(strstr(heard.reason, "before the greeting"));
	assert_true(await_input(client.socket));
	assert_true(is_hung_up(client.socket));
}

static void what_a_worker_finds_ends_the_connection(void **state)
{
	struct raw_ring ring;

	(void)state;
	assert_int_equal(raw_ring_create(&client, 16, 0, &ring), 0);
	raw_publish_as(&ring, 7);
	violated("");
	raw_ring_forget(&ring);
}

static void the_end_of_the_session_ends_the_connection(void **state)
{
	(void)state;
	close(end);
	end = -1;
	assert_true(await_input(lease));
	assert_true(is_hung_up(lease));
	assert_true(await_input(client.socket));
	assert_true(is_hung_up(client.socket));
}

/* All that the client has given it is closed. */
static void nothing_is_left_of_a_client(void **state)
{
	uint32_t memory, file;
	struct raw_ring ring;
	char *bytes;
	int fd = file_of((off_t)PAGE);
	unsigned descriptors;

	(void)state;
	close(client.socket);
	close(lease);
	AWAIT(is_hung_up(end));
	close(end);
	descriptors = count_fds_of(filer_pid);
	admit(2);
	greet();
	bytes = raw_region_add(&client, PAGE, 0, &memory);
	assert_int_equal(add_file(fd, 0, PAGE, 0, &file), 0);
	assert_int_equal(raw_ring_create(&client, 16, 0, &ring), 0);
	assert_int_equal(copy(&ring, file, memory, PAGE, 0), 0);
	close(client.socket);
	AWAIT(is_hung_up(end));
	AWAIT(count_fds_of(filer_pid) == descriptors);
	client.socket = -1;
	raw_ring_forget(&ring);
	munmap(bytes, PAGE);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_welcome_has_what_a_filer_has),
		TEST(memory_is_written_to_a_file_and_read_back),
		TEST(files_are_filled_and_copied_by_threads),
		TEST(a_region_that_is_read_only_is_not_written),
		TEST(parts_of_one_file_are_regions_of_their_own),
		TEST(what_is_no_file_of_a_device_is_refused),
		TEST(rights_of_a_descriptor_hold),
		TEST(ranges_are_checked),
		TEST(memory_has_to_be_a_memfd),
		TEST(regions_are_counted),
		TEST(violations_of_the_form_end_the_connection),
		TEST(answers_with_descriptors_have_to_be_read),
		TEST(a_request_before_the_greeting_ends_the_connection),
		TEST(what_a_worker_finds_ends_the_connection),
		TEST(the_end_of_the_session_ends_the_connection),
		TEST(nothing_is_left_of_a_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
