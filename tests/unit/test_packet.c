/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/control.h"

static int ends[2];

static int setup(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
}

static int teardown(void **state)
{
	(void)state;
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static int open_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* Send raw bytes with `count` descriptors, as a lying peer would. */
static void send_raw(const void *bytes, size_t size, unsigned count)
{
	static char control[CMSG_SPACE(sizeof(int) * 253)];
	struct iovec part = {(void *)(uintptr_t)bytes, size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (count) {
		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(rights) + i * sizeof(int), &(int){STDIN_FILENO},
			       sizeof(int));
	}
	assert_int_equal(sendmsg(ends[0], &header, 0), size);
}

static void a_message_arrives_with_its_descriptors(void **state)
{
	struct vdm_message_region_add add = {.header = {VDM_MESSAGE_REGION_ADD, sizeof add},
					     .size = 4096};
	struct vdm_packet packet;
	int before = open_fds(), fd = STDIN_FILENO;

	(void)state;
	assert_int_equal(vdm_packet_send(ends[0], &add.header, &fd, 1), 0);
	assert_int_equal(vdm_packet_receive(ends[1], &packet, 1), 0);
	assert_int_equal(packet.size, sizeof add);
	assert_memory_equal(&packet.message, &add, sizeof add);
	assert_int_equal(packet.fd_count, 1);
	assert_int_equal(fcntl(packet.fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	int taken = vdm_packet_take(&packet, 0);

	vdm_packet_close(&packet);
	assert_int_equal(open_fds(), before + 1);
	close(taken);
	assert_int_equal(open_fds(), before);
}

static void descriptors_of_malformed_messages_are_the_callers_too(void **state)
{
	union vdm_message message = {
		.header = {VDM_MESSAGE_STATUS, sizeof(struct vdm_message_status)}};
	struct vdm_packet packet;
	char large[sizeof message + 1] = {0};
	int before = open_fds();

	(void)state;
	for (unsigned fds = 0; fds <= VDM_MESSAGE_MAX_FDS; fds++) {
		send_raw(&message, 4, fds); /* shorter than a header */
		assert_int_equal(vdm_packet_receive(ends[1], &packet, 1), -EMSGSIZE);
		assert_int_equal(packet.fd_count, fds);
		vdm_packet_close(&packet);
		send_raw(&message, 24, fds); /* longer than the header says */
		assert_int_equal(vdm_packet_receive(ends[1], &packet, 1), -EMSGSIZE);
		assert_int_equal(packet.fd_count, fds);
		vdm_packet_close(&packet);
		send_raw(large, sizeof large, fds); /* longer than any message */
		assert_int_equal(vdm_packet_receive(ends[1], &packet, 1), -EMSGSIZE);
		assert_int_equal(packet.fd_count, fds);
		vdm_packet_close(&packet);
		assert_int_equal(open_fds(), before);
	}
	for (unsigned fds = VDM_MESSAGE_MAX_FDS + 1; fds <= 253; fds += 31) {
		send_raw(&message, sizeof(struct vdm_message_status), fds);
		assert_int_equal(vdm_packet_receive(ends[1], &packet, 1), -EPROTO);
		assert_int_equal(packet.fd_count, fds);
		vdm_packet_close(&packet);
		assert_int_equal(open_fds(), before);
	}
}

static void an_empty_socket_and_an_ended_one_are_told_apart(void **state)
{
	struct vdm_packet packet;

	(void)state;
	assert_int_equal(vdm_packet_receive(ends[1], &packet, 0), -EAGAIN);
	assert_int_equal(shutdown(ends[0], SHUT_WR), 0);
	assert_int_equal(vdm_packet_receive(ends[1], &packet, 1), -ENOTCONN);
}

static void sending_never_blocks(void **state)
{
	struct vdm_message_done done = {.header = {VDM_MESSAGE_DONE, sizeof done}};
	int result = 0;

	(void)state;
	for (int i = 0; i < 100000 && result == 0; i++)
		result = vdm_packet_send(ends[0], &done.header, NULL, 0);
	assert_int_equal(result, -EAGAIN);
	close(ends[1]);
	assert_int_equal(vdm_packet_send(ends[0], &done.header, NULL, 0), -ENOTCONN);
	assert_int_equal(vdm_packet_send(ends[0], &done.header, NULL, 0), -ENOTCONN);
	ends[1] = dup(ends[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_message_arrives_with_its_descriptors, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			descriptors_of_malformed_messages_are_the_callers_too, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_socket_and_an_ended_one_are_told_apart,
						setup, teardown),
		cmocka_unit_test_setup_teardown(sending_never_blocks, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
