/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filer between clients that send what they like, and a daemon that sends and ends clients at any
 * time. Whatever they pass and submit, it answers them or hangs up on them. It loses no descriptor,
 * and keeps nothing of a client whose session has ended.
 *
 * An input is a sequence of steps: a byte with the step (4 bits) and the client (2 bits), then what
 * the step takes.
 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>

#include "boundary.h"
#include "daemon/filer.h"
#include "daemon/filer_message.h"
#include "daemon/log.h"
#include "op/files.h"
#include "proto/passing.h"
#include "ring_end.h"

#define CLIENTS    4
#define MOST_STEPS 100
#define MOST_TURNS 10000

/* No operation makes a file longer. */
#define MOST_FILE_BYTES (1 << 20)

/* Files beside memory: one to write, one to read, and what is none. */
#define OTHER_FILES 4

struct client {
	uint64_t session; /* 0: there is none */
	int socket, lease, end;
};

static struct filer *filer;
static int daemon_end; /* of the socket that the filer has */
static int files[MEMORY_FILES + OTHER_FILES];
static struct client clients[CLIENTS];
static uint64_t sessions_made;
static struct filer_client_settings settings;

_Noreturn void __wrap__exit(int status);

/* The filer gives up where it cannot serve any more. Nothing here is a reason for that. */
_Noreturn void __wrap__exit(int status)
{
	fprintf(stderr, "the filer gives up, with status %d\n", status);
	abort();
}

static void hear_all(void)
{
	struct filer_message message;
	struct passing passing = {.bytes = &message, .size = sizeof message};

	while (passing_receive(daemon_end, &passing, MSG_DONTWAIT) == 0) {
		REQUIRE(passing.size == sizeof message && message.type == FILER_VIOLATED);
		REQUIRE(memchr(message.reason, '\0', sizeof message.reason));
		passing.size = sizeof message;
	}
}

static void run_filer(void)
{
	unsigned turns = 0;

	while (sd_event_run(filer_event(filer), 0) > 0)
		REQUIRE(++turns < MOST_TURNS);
	hear_all();
}

static void close_client(struct client *client)
{
	close_if_open(&client->socket);
	close_if_open(&client->lease);
	close_if_open(&client->end);
	client->session = 0;
}

/* A client comes, perhaps one that has a connection. */
static void visit(struct client *client, uint8_t how)
{
	struct filer_message message = {
		.type = FILER_CLIENT, .value = 1, .session = client->session, .client = settings};
	int sockets[2], ends[2];

	if (!client->session || how & 1)
		message.session = ++sessions_made;
	close_client(client);
	open_pair(sockets, SOCK_NONBLOCK);
	open_pair(ends, SOCK_NONBLOCK);
	REQUIRE(passing_send(
			daemon_end, &message, sizeof message,
			(int[]){[FILER_CLIENT_SOCKET] = sockets[1], [FILER_CLIENT_END] = ends[1]},
			FILER_CLIENT_FDS, MSG_DONTWAIT) == 0);
	close(sockets[1]);
	close(ends[1]);
	*client = (struct client){message.session, sockets[0], -1, ends[0]};
}

static void greet(const struct client *client)
{
	const struct vdm_message_hello hello = fuzz_greeting();

	if (client->socket >= 0)
		vdm_packet_send(client->socket, &hello.header, NULL, 0);
}

static void send_message(const struct client *client, struct input *input)
{
	const uint8_t how = take_byte(input), which = take_byte(input) % 8;
	union vdm_message message;
	const size_t size = take_message(input, how, &message);
	const int fd = which < 7 ? files[which] : client->socket;

	if (client->socket >= 0 && fd >= 0)
		send_anything(client->socket, &message, size, fd, passed_count(how));
}

/* Read an answer, if there is one. Returns its type, or 0. */
static uint32_t read_answer(struct client *client)
{
	struct vdm_packet packet;
	int result = vdm_packet_receive(client->socket, &packet, 0);
	const uint32_t type = result ? 0 : packet.message.header.type;

	REQUIRE(result == 0 || result == -EAGAIN || result == -ENOTCONN);
	if (type == VDM_MESSAGE_WELCOME) {
		REQUIRE(packet.fd_count == VDM_WELCOME_FD_COUNT && client->lease < 0);
		client->lease = vdm_packet_take(&packet, VDM_WELCOME_FD_LEASE);
	} else if (type == VDM_MESSAGE_RING_CREATED) {
		REQUIRE(packet.fd_count == VDM_RING_FD_COUNT);
		prepare_ring(&packet.message.ring_created, packet.fds);
	} else {
		REQUIRE(packet.fd_count == 0);
	}
	vdm_packet_close(&packet);
	return type;
}

static void read_answers(struct client *client)
{
	while (client->socket >= 0 && read_answer(client))
		;
}

static void take_step(struct client *client, unsigned step, struct input *input)
{
	switch (step) {
	case 0:
		visit(client, take_byte(input));
		break;
	case 1:
		greet(client);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
		send_message(client, input);
		break;
	case 6:
	case 7:
		read_answers(client);
		break;
	case 8:
	case 9:
	case 10:
		submit(input);
		break;
	case 11:
		ring_doorbell(input);
		break;
	case 12:
		close_if_open(&client->end);
		break;
	case 13:
		close_client(client);
		break;
	case 14:
		if (ftruncate(files[MEMORY_FILES], take_byte(input) * 64) < 0)
			abort();
		break;
	}
}

/* Wait until the filer has noticed that the client has gone, and closes its end of `end`. */
static void await_end(struct client *client)
{
	struct pollfd event = {.fd = client->end};

	close_if_open(&client->socket);
	while (client->end >= 0 && poll(&event, 1, 0) == 0)
		sd_event_run(filer_event(filer), 1000);
	close_client(client);
}

static void open_files(void)
{
	int ends[2];

	open_memory_files(files);
	files[MEMORY_FILES] = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	files[MEMORY_FILES + 1] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	files[MEMORY_FILES + 2] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	files[MEMORY_FILES + 3] = ends[0];
	close(ends[1]);
	for (unsigned i = 0; i < MEMORY_FILES + OTHER_FILES; i++)
		REQUIRE(files[i] >= 0);
}

/* What an input may do, as it has to be: a page is written to a file. */
static void converse(void)
{
	const struct vdm_message_region_add memory = {
		.header = {VDM_MESSAGE_REGION_ADD, sizeof memory}, .size = MEMORY_FILE_BYTES};
	const struct vdm_message_file_add file = {.header = {VDM_MESSAGE_FILE_ADD, sizeof file},
						  .size = MEMORY_FILE_BYTES,
						  .flags = VDM_REGION_EXTEND};
	const struct vdm_message_ring_create create = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof create}, .entries = 8};
	struct client *client = &clients[0];

	visit(client, 0);
	greet(client);
	run_filer();
	REQUIRE(read_answer(client) == VDM_MESSAGE_WELCOME);
	REQUIRE(send_anything(client->socket, &memory, sizeof memory, files[0], 1) == 0);
	run_filer();
	REQUIRE(read_answer(client) == VDM_MESSAGE_REGION_ADDED);
	REQUIRE(send_anything(client->socket, &file, sizeof file, files[MEMORY_FILES], 1) == 0);
	run_filer();
	REQUIRE(read_answer(client) == VDM_MESSAGE_REGION_ADDED);
	REQUIRE(vdm_packet_send(client->socket, &create.header, NULL, 0) == 0);
	run_filer();
	REQUIRE(read_answer(client) == VDM_MESSAGE_RING_CREATED && ring.submission);
}

static void end_all(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		await_end(&clients[i]);
	run_filer();
	close_ring();
}

static void set_up(void)
{
	const struct filer_message begin = {.type = FILER_BEGIN};
	const struct rlimit limit = {MOST_FILE_BYTES, MOST_FILE_BYTES};
	struct config config;
	int ends[2], counters = memfd_create("counters", MFD_CLOEXEC);

	log_set_level(-1);
	signal(SIGXFSZ, SIG_IGN);
	REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	REQUIRE(counters >= 0 && ftruncate(counters, sizeof(struct files_counters)) == 0);
	config_defaults(&config);
	settings.user = config_for_user(&config, 1);
	settings.user.limits.regions_per_session = 3;
	settings.user.limits.rings_per_session = 3;
	settings.user.limits.entries_per_ring = 64;
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = (struct client){0, -1, -1, -1};
	open_files();
	open_pair(ends, 0);
	daemon_end = ends[0];
	REQUIRE(passing_send(daemon_end, &begin, sizeof begin, &counters, 1, MSG_DONTWAIT) == 0);
	close(counters);
	filer = filer_new(ends[1]);
	REQUIRE(filer);
	converse();
	end_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};

	if (!filer)
		set_up();

	const unsigned fds_before = count_fds();

	for (unsigned i = 0; i < MOST_STEPS && input.size > 0; i++) {
		const uint8_t what = take_byte(&input);

		take_step(&clients[what / 16 % CLIENTS], what % 16, &input);
		if (!(what & 128))
			run_filer();
	}
	end_all();
	REQUIRE(count_fds() == fds_before);
	return 0;
}
