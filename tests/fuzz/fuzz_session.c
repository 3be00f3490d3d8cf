/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Conversations of every kind with a session. Whatever is sent, with whatever descriptors, the
 * session is served or ended, and leaves nothing behind.
 *
 * An input is a byte, odd if the client has greeted before, and then a sequence of messages: a byte
 * with the length (0: that of a greeting), a byte with the number and kind of descriptors, and that
 * many bytes.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/server.h"
#include "fuzz.h"
#include "proto/submission.h"

#define MOST_MESSAGES 32

static struct server *server;
static int good, unsealable, empty, submission; /* descriptors to pass */

/* What all sessions hold together. */
static uint64_t held(enum resource resource)
{
	return server->host.users.book.used[resource];
}

static unsigned count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	REQUIRE(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void run_loop(void)
{
	while (sd_event_run(server->host.event, 0) > 0)
		;
}

static int connect_client(void)
{
	int ends[2];

	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
	acceptor_admit(&server->acceptor, ends[1]);
	return ends[0];
}

static void hang_up(int client)
{
	close(client);
	/* until its descriptors have been closed, too */
	users_sweep(&server->host.users, true);
	for (unsigned i = 0;
	     i < 1000 && (held(RESOURCE_SESSIONS) > 0 || !LIST_EMPTY(&server->host.users.list));
	     i++) {
		sd_event_run(server->host.event, 10000);
		users_sweep(&server->host.users, true);
	}
	REQUIRE(held(RESOURCE_SESSIONS) == 0 && held(RESOURCE_RINGS) == 0 &&
		held(RESOURCE_REGIONS) == 0);
	REQUIRE(held(RESOURCE_MAPPED_BYTES) == 0 && LIST_EMPTY(&server->host.users.list));
}

static void set_up(void)
{
	struct config config;

	config_defaults(&config);
	config.limits.handshakes_per_second = 1000000;
	config.workers = 1;
	config.limits.rings_per_session = 3;
	config.limits.regions_per_session = 3;
	config.limits.entries_per_ring = 64;
	log_set_level(-1);
	REQUIRE(server_new(&config, &server) == 0);
	good = memfd_create("good", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	unsealable = memfd_create("unsealable", MFD_CLOEXEC);
	empty = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	REQUIRE(good >= 0 && unsealable >= 0 && empty >= 0);
	void *memory;

	submission = vdm_submission_make(64, 0, &memory);
	REQUIRE(submission >= 0);
	REQUIRE(fallocate(good, 0, 0, 16384) == 0);
	REQUIRE(fcntl(good, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	REQUIRE(fallocate(unsealable, 0, 0, 16384) == 0);
	hang_up(connect_client()); /* opens what the event loop keeps */
}

static void close_passed(struct msghdr *header)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			close(fd);
		}
	}
}

/* Read all answers and throw them away. */
static void drain(int client)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 16)];
	} control;
	char bytes[512];

	for (;;) {
		struct iovec part = {bytes, sizeof bytes};
		struct msghdr header = {.msg_iov = &part,
					.msg_iovlen = 1,
					.msg_control = &control,
					.msg_controllen = sizeof control};

		if (recvmsg(client, &header, MSG_CMSG_CLOEXEC) <= 0)
			return;
		close_passed(&header);
	}
}

static void send_message(int client, const void *bytes, size_t size, unsigned how)
{
	const int kinds[] = {good, unsealable, empty, client, submission};
	unsigned count = how % 8 < 5 ? how % 8 : how % 8 == 5 ? 12 : 0;
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 16)];
	} control = {0};
	struct iovec part = {(void *)(uintptr_t)bytes, size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (count > 0) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(rights) + i * sizeof(int), &kinds[how / 8 % 5],
			       sizeof(int));
	}
	sendmsg(client, &header, MSG_NOSIGNAL);
}

static void greet(int client)
{
	const struct vdm_message_hello hello = {.header = {VDM_MESSAGE_HELLO, sizeof hello},
						.magic = VDM_PROTOCOL_MAGIC,
						.version = VDM_PROTOCOL_VERSION,
						.command = "fuzz"};

	REQUIRE(vdm_packet_send(client, &hello.header, NULL, 0) == 0);
	run_loop();
	drain(client);
	REQUIRE(LIST_FIRST(&server->host.sessions)->state == SESSION_OPEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!server)
		set_up();

	unsigned fds_before = count_fds();
	int client = connect_client();

	if (size > 0 && *data % 2)
		greet(client);
	if (size > 0) {
		data++;
		size--;
	}
	for (unsigned n = 0; n < MOST_MESSAGES && size > 2; n++) {
		union vdm_message message = {0};
		size_t length = data[0] ? data[0] : sizeof message.hello;
		unsigned how = data[1];

		data += 2;
		size -= 2;
		size_t have = length < size ? length : size;

		memcpy(&message, data, have < sizeof message ? have : sizeof message);
		/* mostly of the right size, or all messages would end at that check */
		if (how < 128)
			message.header.size = (uint32_t)length;
		send_message(client, &message, length < sizeof message ? length : sizeof message,
			     how);
		data += have;
		size -= have;
		run_loop();
		drain(client);
	}
	hang_up(client);
	/* the thread that maps pages closes its own descriptors */
	for (unsigned i = 0; i < 1000 && count_fds() != fds_before; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	REQUIRE(count_fds() == fds_before);
	return 0;
}
