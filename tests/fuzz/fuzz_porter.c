/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A porter between clients that send what they like, and a daemon whose messages come at any time.
 * It says to the daemon what proto/porter.h has, in that order, loses no descriptor, and waits for
 * nobody: it never spins, and each visit ends when the daemon hangs up.
 *
 * An input is a sequence of steps: a byte with the step (4 bits), the client (2 bits), that the
 * porter has no room for descriptors, and that it does not get its turn; then what the step takes.
 */
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "boundary.h"
#include "daemon/log.h"
#include "daemon/porter.h"
#include "proto/passing.h"
#include "proto/porter.h"

#define CLIENTS    4
#define MOST_STEPS 100

/* Events that the porter handles at once; it has less to do after any step. */
#define MOST_TURNS 10000

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

struct client {
	uint64_t session;           /* 0: there is none */
	int socket;                 /* its own end; -1: closed */
	int process;                /* eventfd in place of its pidfd: readable when it has ended */
	unsigned requests, answers; /* that the daemon has heard, and given */
	bool opened, left, hung_up;
};

static struct porter *porter;
static int daemon_end; /* of the socket that the porter has */
static int files[MEMORY_FILES];
static struct client clients[CLIENTS];
static uint64_t sessions_made;
static int next_peer = -1; /* what the porter gets for the next client's process; -1: nothing */

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int __real_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
_Noreturn void __wrap__exit(int status);

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	if (level != SOL_SOCKET || option != SO_PEERPIDFD)
		return __real_getsockopt(fd, level, option, value, size);

	int peer = next_peer < 0 ? -1 : fcntl(next_peer, F_DUPFD_CLOEXEC, 0);

	if (peer < 0)
		return -1;
	memcpy(value, &peer, sizeof peer);
	return 0;
}

/* The porter gives up where it cannot serve any more. Nothing here is a reason for that. */
_Noreturn void __wrap__exit(int status)
{
	fprintf(stderr, "the porter gives up, with status %d\n", status);
	abort();
}

static void run_porter(void)
{
	unsigned turns = 0;

	while (sd_event_run(porter_event(porter), 0) > 0)
		REQUIRE(++turns < MOST_TURNS);
}

/* Run it while it may have no more descriptors than it has. */
static void run_porter_without_room(void)
{
	struct rlimit before, full;
	int lowest = fcntl(daemon_end, F_DUPFD_CLOEXEC, 0);

	REQUIRE(lowest >= 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
	close(lowest);
	full = (struct rlimit){(rlim_t)lowest, before.rlim_max};
	REQUIRE(setrlimit(RLIMIT_NOFILE, &full) == 0);
	run_porter();
	REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

static struct client *find(uint64_t session)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (clients[i].session == session)
			return &clients[i];
	return NULL;
}

static void check_request(struct client *client, const struct porter_message *message)
{
	const struct vdm_request *request = vdm_request(message->message.header.type);

	REQUIRE(client->opened && !client->left);
	REQUIRE(++client->requests <= client->answers + 1);
	REQUIRE(request && message->message.header.size == request->size);
	REQUIRE(message->message.header.type != VDM_MESSAGE_HELLO);
	REQUIRE((message->value >= 0) == (request->fds > 0));
	if (message->value >= 0 && client->requests > client->answers && !client->hung_up)
		REQUIRE(fcntl(message->value, F_GETFD) >= 0);
}

static void forget(struct client *client)
{
	close_if_open(&client->socket);
	close_if_open(&client->process);
	*client = (struct client){.socket = -1, .process = -1};
}

static void check(struct client *client, const struct porter_message *message)
{
	switch (message->type) {
	case PORTER_OPENED:
		REQUIRE(!client->opened);
		client->opened = true;
		break;
	case PORTER_REQUEST:
		check_request(client, message);
		break;
	case PORTER_LEFT:
		REQUIRE(!client->left && message->value >= 0 &&
			message->value < PORTER_REASON_COUNT);
		client->left = true;
		break;
	case PORTER_GONE:
		/* or it has no room for the visitor's descriptors */
		REQUIRE(client->hung_up || (!client->opened && !client->left));
		forget(client);
		break;
	default:
		REQUIRE(message->type == PORTER_GONE);
	}
}

/* Hear one message of the porter. Returns whether there was one. */
static bool hear(void)
{
	struct porter_message message = {0};
	int fds[VDM_MESSAGE_MAX_FDS];
	struct passing passing = {.bytes = &message,
				  .size = sizeof message,
				  .fds = fds,
				  .fd_count = VDM_MESSAGE_MAX_FDS};
	int result = passing_receive(daemon_end, &passing, MSG_DONTWAIT);

	if (result == -EAGAIN)
		return false;
	REQUIRE(result == 0 && passing.fd_count == 0 && passing.flags == 0);
	REQUIRE(passing.size == porter_message_size(&message));
	REQUIRE(message.session > 0 && find(message.session));
	check(find(message.session), &message);
	return true;
}

static void hear_all(void)
{
	do
		run_porter();
	while (hear());
}

static void tell(const struct porter_message *message, const int *fds, unsigned count)
{
	int result;

	while ((result = passing_send(daemon_end, message, porter_message_size(message), fds, count,
				      MSG_DONTWAIT)) == -EAGAIN)
		run_porter();
	REQUIRE(result == 0);
}

/* A client connects: some with a process that has ended already, or little room for answers. */
static void visit(struct client *client, uint8_t how)
{
	struct porter_message visitor = {.type = PORTER_VISITOR, .value = INT32_MAX};
	int ends[2], lease[2];

	if (client->session)
		return;
	open_pair(ends, SOCK_NONBLOCK);
	open_pair(lease, SOCK_NONBLOCK);
	if (how & 1)
		setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &(int){0}, sizeof(int));
	*client = (struct client){.session = ++sessions_made,
				  .socket = ends[0],
				  .process = eventfd(how & 2 ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK)};
	REQUIRE(client->process >= 0);
	if (how & 4) {
		const struct vdm_message_hello hello = fuzz_greeting();

		vdm_packet_send(client->socket, &hello.header, NULL, 0);
	}
	visitor.session = client->session;
	visitor.welcome = (struct vdm_message_welcome){
		.header = {VDM_MESSAGE_WELCOME, sizeof visitor.welcome},
		.version = VDM_PROTOCOL_VERSION};
	run_porter(); /* another client's process is not this one's */
	next_peer = how & 8 ? -1 : client->process;
	tell(&visitor,
	     (int[]){[PORTER_VISITOR_SOCKET] = ends[1], [PORTER_VISITOR_LEASE] = lease[1]},
	     PORTER_VISITOR_FDS);
	close(ends[1]);
	close(lease[0]);
	close(lease[1]);
}

static int choose_fd(const struct client *client, uint8_t how)
{
	const int fds[] = {files[0], files[1], files[2], client->socket,
			   clients[how % CLIENTS].socket};
	const int fd = fds[how / 8 % 5];

	return fd < 0 ? files[0] : fd;
}

static void send_message(const struct client *client, struct input *input)
{
	const uint8_t how = take_byte(input);
	union vdm_message message;
	const size_t size = take_message(input, how, &message);

	if (client->socket >= 0)
		send_anything(client->socket, &message, size, choose_fd(client, how),
			      passed_count(how));
}

static void greet(const struct client *client)
{
	const struct vdm_message_hello hello = fuzz_greeting();

	if (client->socket >= 0)
		vdm_packet_send(client->socket, &hello.header, NULL, 0);
}

/* Read an answer, if there is one. Returns its type, or 0. */
static uint32_t read_answer(const struct client *client)
{
	struct vdm_packet packet;
	int result = vdm_packet_receive(client->socket, &packet, 0);

	vdm_packet_close(&packet);
	REQUIRE(result == 0 || result == -EAGAIN || result == -ENOTCONN);
	return result ? 0 : packet.message.header.type;
}

static void read_answers(const struct client *client)
{
	while (client->socket >= 0 && read_answer(client))
		;
}

static void answer(struct client *client, uint8_t how)
{
	struct porter_message message = {.type = PORTER_ANSWER, .session = client->session};
	const struct vdm_message_header headers[] = {
		{0, 0},
		{VDM_MESSAGE_DONE, sizeof message.message.done},
		{VDM_MESSAGE_REFUSED, sizeof message.message.refused},
		{VDM_MESSAGE_STATUS_REPLY, sizeof message.message.status_reply},
		{VDM_MESSAGE_RING_CREATED, sizeof message.message.ring_created},
	};
	const int fds[VDM_RING_FD_COUNT] = {files[0], files[1], files[2], daemon_end};

	message.message.header = headers[how % 5];
	client->answers++;
	tell(&message, fds,
	     message.message.header.type == VDM_MESSAGE_RING_CREATED ? VDM_RING_FD_COUNT : 0);
}

static void hang_up(struct client *client)
{
	const struct porter_message message = {.type = PORTER_HANG_UP, .session = client->session};

	client->hung_up = true;
	tell(&message, NULL, 0);
}

/* A socket into which a client has sent messages of 8 bytes and others. Stores both ends. */
static void fill_socket(int ends[2], struct input *input)
{
	static const uint8_t sizes[] = {8, 8, 1, 0};
	unsigned count = take_byte(input) % 8;

	open_pair(ends, SOCK_NONBLOCK);
	while (count-- > 0) {
		const uint8_t how = take_byte(input);

		send_anything(ends[0], "message", sizes[how / 64], ends[how % 2],
			      passed_count(how));
	}
}

static bool is_empty(int socket)
{
	char byte;

	return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void have_bells_received(struct input *input)
{
	const struct porter_message bell = {.type = PORTER_BELL};
	int ends[2];

	fill_socket(ends, input);
	tell(&bell, &ends[1], 1);
	run_porter();
	REQUIRE(is_empty(ends[1]));
	close(ends[0]);
	close(ends[1]);
}

static void refuse_client(struct input *input)
{
	const struct porter_message refuse = {
		.type = PORTER_REFUSE,
		.refused = {.header = {VDM_MESSAGE_REFUSED, sizeof refuse.refused}}};
	struct client client;
	int ends[2];

	fill_socket(ends, input);
	tell(&refuse, &ends[1], 1);
	run_porter();
	close(ends[1]);
	client.socket = ends[0];
	REQUIRE(read_answer(&client) == VDM_MESSAGE_REFUSED);
	close(ends[0]);
}

static void mention_nobody(uint8_t how)
{
	static const enum porter_message_type types[] = {PORTER_ANSWER, PORTER_HANG_UP};
	const struct porter_message message = {.type = types[how % 2], .session = UINT64_MAX - how};

	tell(&message, NULL, 0);
}

/* What the client or the daemon does. */
static void take_step(struct client *client, unsigned step, struct input *input)
{
	switch (step) {
	case 0:
		visit(client, take_byte(input));
		break;
	case 1:
	case 2:
		send_message(client, input);
		break;
	case 3:
		greet(client);
		break;
	case 4:
		read_answers(client);
		break;
	case 5:
		close_if_open(&client->socket);
		break;
	case 6:
		if (client->process >= 0)
			eventfd_write(client->process, 1);
		break;
	case 7:
	case 8:
		if (client->session && !client->hung_up)
			answer(client, take_byte(input));
		break;
	case 9:
		if (client->session)
			hang_up(client);
		break;
	case 10:
		have_bells_received(input);
		break;
	case 11:
		refuse_client(input);
		break;
	case 12:
		mention_nobody(take_byte(input));
		break;
	case 13:
		hear();
		break;
	default:
		hear_all();
	}
}

/* The daemon hangs up on everybody, and then nobody is left. */
static void end_all(void)
{
	hear_all();
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (clients[i].session && !clients[i].hung_up)
			hang_up(&clients[i]);
		close_if_open(&clients[i].socket);
	}
	hear_all();
	for (unsigned i = 0; i < CLIENTS; i++)
		REQUIRE(clients[i].session == 0);
}

/* What an input may do, as it has to be: this also opens what the porter keeps. */
static void converse(void)
{
	const struct vdm_message_region_add add = {.header = {VDM_MESSAGE_REGION_ADD, sizeof add},
						   .size = MEMORY_FILE_BYTES};
	struct client *client = &clients[0];

	visit(client, 0);
	run_porter(); /* it waits for the greeting, with a timer */
	greet(client);
	hear_all();
	REQUIRE(client->opened && read_answer(client) == VDM_MESSAGE_WELCOME);
	REQUIRE(send_anything(client->socket, &add, sizeof add, files[0], 1) == 0);
	hear_all();
	REQUIRE(client->requests == 1);
	answer(client, 4);
	run_porter();
	REQUIRE(read_answer(client) == VDM_MESSAGE_RING_CREATED);
	eventfd_write(client->process, 1);
	hear_all();
	REQUIRE(client->left);
	hang_up(client);
	hear_all();
	REQUIRE(client->session == 0);
}

static void set_up(void)
{
	int ends[2];

	log_set_level(-1);
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = (struct client){.socket = -1, .process = -1};
	open_memory_files(files);
	open_pair(ends, 0);
	daemon_end = ends[0];
	/* so that what the daemon has not heard soon fills it */
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &(int){0}, sizeof(int));
	porter = porter_new(ends[1]);
	REQUIRE(porter);
	converse();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};

	if (!porter)
		set_up();

	const unsigned fds_before = count_fds();

	for (unsigned i = 0; i < MOST_STEPS && input.size > 0; i++) {
		const uint8_t what = take_byte(&input);

		take_step(&clients[what / 16 % CLIENTS], what % 16, &input);
		if (what & 128)
			continue;
		if (what & 64)
			run_porter_without_room();
		else
			run_porter();
	}
	end_all();
	REQUIRE(count_fds() == fds_before);
	return 0;
}
