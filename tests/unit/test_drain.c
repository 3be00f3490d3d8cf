/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/drain.c: what is received from a socket, and that descriptors in messages are closed. */
#include "daemon/drain.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/passing.h"

static int ours, clients;
static int watched; /* hangs up when the descriptors that were sent have been closed */

static int set_up(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
				    ends),
			 0);
	ours = ends[0];
	clients = ends[1];
	watched = -1;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(ours);
	if (clients >= 0)
		close(clients);
	if (watched >= 0)
		close(watched);
	return 0;
}

static const char bytes[64];

static void ring(size_t size)
{
	assert_int_equal(passing_send(clients, bytes, size, NULL, 0, MSG_DONTWAIT), 0);
}

/* With a descriptor. */
static void ring_with_descriptor(size_t size)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(passing_send(clients, bytes, size, &ends[1], 1, MSG_DONTWAIT), 0);
	close(ends[1]);
	watched = ends[0];
}

static bool descriptor_is_closed(void)
{
	struct pollfd event = {.fd = watched, .events = POLLIN};

	return poll(&event, 1, 0) == 1 && (event.revents & POLLHUP);
}

static void hang_up(void)
{
	close(clients);
	clients = -1;
}

/* How many messages are left; none of them is empty. */
static unsigned count(void)
{
	unsigned messages = 0;
	char byte;

	while (recv(ours, &byte, 1, MSG_DONTWAIT) > 0)
		messages++;
	return messages;
}

static void a_socket_without_messages_is_left_alone(void **state)
{
	(void)state;
	drain(ours);
	hang_up();
	drain(ours);
	assert_false(drain_finds_messages(ours));
}

static void all_messages_are_received(void **state)
{
	const size_t sizes[] = {8, 1, 0, 64, 0, 0, 8};

	(void)state;
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
		ring(sizes[i]);
	ring_with_descriptor(8);
	drain(ours);
	assert_true(descriptor_is_closed());
	assert_int_equal(count(), 0);
}

static void descriptors_in_an_empty_message_are_closed(void **state)
{
	(void)state;
	ring_with_descriptor(0);
	assert_true(drain_finds_messages(ours));
	drain(ours);
	assert_true(descriptor_is_closed());
}

static void what_a_client_sent_before_it_hung_up_is_received(void **state)
{
	(void)state;
	ring(0);
	ring_with_descriptor(8);
	hang_up();
	assert_true(drain_finds_messages(ours));
	drain(ours);
	assert_true(descriptor_is_closed());
	assert_false(drain_finds_messages(ours));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_socket_without_messages_is_left_alone),
		TEST(all_messages_are_received),
		TEST(descriptors_in_an_empty_message_are_closed),
		TEST(what_a_client_sent_before_it_hung_up_is_received),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
