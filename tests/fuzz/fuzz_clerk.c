/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A porter and a filer that their user has taken over, and a client of the same user. Whatever they
 * say to the daemon, and whatever descriptors and memory they give it, it answers them or ends
 * their sessions. In the end nothing of theirs is left, and another user's session is served as
 * before.
 *
 * An input is a sequence of steps: a byte with the step (4 bits), and the session that it is about
 * (2 bits; the last one is the other user's); then what the step takes.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <time.h>

#include <linux/sockios.h>

#include "boundary.h"
#include "ring_end.h"
#include "daemon/clerk.h"
#include "daemon/filer_message.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "daemon/session.h"
#include "proto/passing.h"
#include "proto/porter.h"
#include "tests/twin_process.h"

#define SESSIONS   3
#define MOST_STEPS 100

/*
 * So many porters end before an input, and hardly any clerk has noticed before a client connects.
 */
#define LATE_CLERKS 20

/* Of a thread that has said that it ends, until it has closed the last descriptor. */
#define LOOKS 60000

enum uid { HOSTILE = 1, NEIGHBOUR }; /* of system users: nobody is asked whose they are */

struct porter_end {
	int socket; /* -1: hung up */
	bool deaf;  /* it does not read what the daemon tells it */
	struct visit_end {
		uint64_t session;  /* 0: there is none */
		int socket, lease; /* what came with PORTER_VISITOR */
	} visits[SESSIONS];
	unsigned met;          /* visitors: the place of each is taken by a later one */
	int clients[SESSIONS]; /* their own ends, as above */
	unsigned admitted;
};

static struct server *server;
static int spawner_end, refusals_end; /* what the spawner would have */
static int porter_wanted = -1;        /* the socket of a porter that is to be born */
static int filer = -1;                /* of the hostile user's filer */
static enum uid next_uid;
static int files[MEMORY_FILES];
static struct porter_end hostile, neighbour;
static unsigned fds_before; /* the hostile user came: libFuzzer, too, opens some between inputs */

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int __real_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);
int __real_socketpair(int domain, int type, int protocol, int ends[2]);

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	int result = __real_getsockopt(fd, level, option, value, size);

	if (level == SOL_SOCKET && option == SO_PEERCRED)
		((struct ucred *)value)->uid = next_uid;
	return result;
}

/* Between a clerk and its porter: it is full with a few messages. */
int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
	int result = __real_socketpair(domain, type, protocol, ends);

	if (result == 0 && !(type & SOCK_NONBLOCK))
		setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &(int){0}, sizeof(int));
	return result;
}

static void close_visit(struct visit_end *visit)
{
	close_if_open(&visit->socket);
	close_if_open(&visit->lease);
	visit->session = 0;
}

static struct visit_end *find(struct porter_end *porter, uint64_t session)
{
	for (unsigned i = 0; i < SESSIONS; i++)
		if (porter->visits[i].session == session)
			return &porter->visits[i];
	return NULL;
}

static void meet(struct porter_end *porter, const struct porter_message *message, int *fds)
{
	struct visit_end *visit = &porter->visits[porter->met++ % SESSIONS];

	close_visit(visit);
	*visit = (struct visit_end){.session = message->session,
				    .socket = fds[PORTER_VISITOR_SOCKET],
				    .lease = fds[PORTER_VISITOR_LEASE]};
	fds[PORTER_VISITOR_SOCKET] = fds[PORTER_VISITOR_LEASE] = -1;
}

static bool has_hung_up(int socket)
{
	struct pollfd event = {.fd = socket};

	return poll(&event, 1, 0) > 0 && event.revents & POLLHUP;
}

static void check(struct porter_end *porter, const struct porter_message *message, int *fds,
		  unsigned count)
{
	const uint32_t type = message->message.header.type;
	const bool made_ring = type == VDM_MESSAGE_RING_CREATED;
	const struct visit_end *visit = find(porter, message->session);

	switch (message->type) {
	case PORTER_VISITOR:
		REQUIRE(count == PORTER_VISITOR_FDS);
		meet(porter, message, fds);
		break;
	case PORTER_ANSWER:
		REQUIRE(count == (made_ring                          ? VDM_RING_FD_COUNT
				  : type == VDM_MESSAGE_FILES_OPENED ? VDM_FILES_FD_COUNT
								     : 0u));
		if (made_ring)
			prepare_ring(&message->message.ring_created, fds);
		break;
	case PORTER_HANG_UP:
		/* the proof that nothing of the client's is used any more comes first */
		REQUIRE(count == 0 && (!visit || has_hung_up(visit->lease)));
		break;
	default:
		REQUIRE(message->type == PORTER_REFUSE || message->type == PORTER_BELL);
		REQUIRE(count == 1);
	}
	REQUIRE(porter == &neighbour || message->session != neighbour.visits[0].session);
}

/* Read one message of the daemon's. Returns the type, or 0: there is none. */
static uint32_t listen_once(struct porter_end *porter, struct porter_message *message)
{
	int fds[VDM_MESSAGE_MAX_FDS];
	struct passing passing = {.bytes = message,
				  .size = sizeof *message,
				  .fds = fds,
				  .fd_count = VDM_MESSAGE_MAX_FDS};

	memset(message, 0, sizeof *message);
	if (porter->socket < 0 || passing_receive(porter->socket, &passing, MSG_DONTWAIT) ||
	    passing.size == 0)
		return 0;
	REQUIRE(passing.flags == 0 && passing.size == porter_message_size(message));
	check(porter, message, fds, passing.fd_count);
	for (unsigned i = 0; i < passing.fd_count; i++)
		close_if_open(&fds[i]);
	return message->type;
}

static void listen_to_daemon(struct porter_end *porter)
{
	struct porter_message message;

	while (!porter->deaf && listen_once(porter, &message))
		;
}

static bool say(const struct porter_end *porter, const void *bytes, size_t size, int fd,
		unsigned count)
{
	return porter->socket >= 0 && send_anything(porter->socket, bytes, size, fd, count) == 0;
}

/* Say that a process has been born, which is another one with the memory of this. */
static void tell_birth(int socket)
{
	const struct porter_message born = {.type = PORTER_BORN, .value = getpid()};
	int twin[PORTER_BORN_FDS];

	REQUIRE(twin_process_start(twin));
	passing_send(socket, &born, sizeof born, twin, PORTER_BORN_FDS, 0);
	close(twin[0]);
	close(twin[1]);
}

/* What the daemon asks its spawner for. It may have closed a socket that it has not used. */
static void be_spawner(void)
{
	uint8_t kind = 0;
	int fd = -1;

	for (;;) {
		struct passing passing = {
			.bytes = &kind, .size = sizeof kind, .fds = &fd, .fd_count = 1};

		if (passing_receive(spawner_end, &passing, MSG_DONTWAIT) || !passing.fd_count)
			return;
		if (kind == SPAWNER_PORTER) {
			close_if_open(&porter_wanted);
			porter_wanted = fd;
			continue;
		}
		REQUIRE(kind == SPAWNER_FILER);
		close_if_open(&filer);
		filer = fd;
		tell_birth(filer);
	}
}

/* Wait until the clerk has taken all, and for what it takes last: this says nothing to it. */
static void await_clerk(struct porter_end *porter)
{
	const struct porter_message nothing = {.type = PORTER_BORN};
	int unread = 1;

	if (porter->deaf || !say(porter, &nothing, porter_message_size(&nothing), -1, 0))
		return;
	while (unread > 0) {
		be_spawner(); /* the clerk waits for a filer's birth */
		listen_to_daemon(porter);
		REQUIRE(ioctl(porter->socket, SIOCOUTQ, &unread) == 0);
		sched_yield();
	}
	listen_to_daemon(porter);
}

/* A descriptor that the daemon has for the spawner; -1: none. */
static int receive_as_spawner(int from)
{
	struct vdm_message_refused message;
	int fd = -1;
	struct passing passing = {
		.bytes = &message, .size = sizeof message, .fds = &fd, .fd_count = 1};

	return passing_receive(from, &passing, MSG_DONTWAIT) == 0 && passing.fd_count ? fd : -1;
}

static void hang_up(struct porter_end *porter)
{
	close_if_open(&porter->socket);
	if (porter == &hostile)
		close_if_open(&filer);
	porter->deaf = false;
	for (unsigned i = 0; i < SESSIONS; i++) {
		close_visit(&porter->visits[i]);
		close_if_open(&porter->clients[i]);
	}
}

/* Become the porter that the daemon has asked for, if it has. */
static void be_born(struct porter_end *porter)
{
	be_spawner();
	if (porter_wanted < 0)
		return;
	hang_up(porter);
	porter->socket = porter_wanted;
	porter_wanted = -1;
	tell_birth(porter->socket);
}

/* A client connects. */
static void admit(struct porter_end *porter, enum uid uid)
{
	int *client, ends[2], fd;

	open_pair(ends, SOCK_NONBLOCK);
	next_uid = uid;
	acceptor_admit(&server->acceptor, ends[1]);
	be_born(porter);
	while ((fd = receive_as_spawner(refusals_end)) >= 0)
		close(fd);
	client = &porter->clients[porter->admitted++ % SESSIONS];
	close_if_open(client);
	*client = ends[0];
}

static uint64_t choose_session(unsigned which)
{
	return which < SESSIONS ? hostile.visits[which].session : neighbour.visits[0].session;
}

/* Mostly one that a client may pass. Else any of the harness, which is the daemon, too. */
static int32_t choose_fd(uint8_t how, struct input *input)
{
	const int32_t fds[8] = {files[0], files[0], files[0],      files[1],
				files[2], -1,       hostile.socket};

	return how / 8 % 8 == 7 ? (int8_t)take_byte(input) : fds[how / 8 % 8];
}

static void request(uint64_t session, struct input *input)
{
	const uint8_t how = take_byte(input);
	struct porter_message message = {
		.type = PORTER_REQUEST, .session = session, .value = choose_fd(how, input)};
	const size_t size = take_message(input, how, &message.message);

	say(&hostile, &message, offsetof(struct porter_message, message) + size, files[0],
	    how & 4 ? 1 : 0);
}

static void say_shortly(enum porter_message_type type, uint64_t session, struct input *input)
{
	struct porter_message message = {
		.type = type, .session = session, .value = (int8_t)take_byte(input)};

	if (type == PORTER_OPENED)
		take_bytes(input, message.command, sizeof message.command);
	say(&hostile, &message, porter_message_size(&message), -1, 0);
}

/* Any bytes, and any descriptors. */
static void rave(uint64_t session, struct input *input)
{
	const uint8_t how = take_byte(input);
	struct porter_message message;
	const size_t size = take_bytes(input, &message,
				       take_byte(input) * (how & 64 ? 4u : 1u) % sizeof message);

	if (how & 128)
		message.session = session;
	say(&hostile, &message, size, files[how / 8 % MEMORY_FILES], passed_count(how));
}

/* Read one message for the filer. Returns whether there was one. */
static bool listen_as_filer(void)
{
	struct filer_message message;
	int fds[FILER_MOST_FDS];
	struct passing passing = {
		.bytes = &message, .size = sizeof message, .fds = fds, .fd_count = FILER_MOST_FDS};

	if (filer < 0 || passing_receive(filer, &passing, MSG_DONTWAIT) || passing.size == 0)
		return false;
	REQUIRE(passing.flags == 0 && passing.size == sizeof message);
	REQUIRE(message.type == FILER_BEGIN || message.type == FILER_CLIENT);
	REQUIRE(passing.fd_count ==
		(message.type == FILER_BEGIN ? (unsigned)FILER_BEGIN_FDS : FILER_CLIENT_FDS));
	for (unsigned i = 0; i < passing.fd_count; i++)
		close(fds[i]);
	return true;
}

/* The filer reads, ends, or says what it likes. */
static void be_filer(struct input *input)
{
	const uint8_t how = take_byte(input);
	struct filer_message message;
	size_t size = sizeof message;

	while (how & 1 && listen_as_filer())
		;
	if (how & 2)
		close_if_open(&filer);
	if (how & 4)
		size = take_byte(input) % sizeof message;
	memset(&message, 0, sizeof message);
	take_bytes(input, &message, size);
	if (how & 8)
		message.type = how & 16 ? FILER_READY : FILER_VIOLATED;
	if (filer >= 0)
		send_anything(filer, &message, size, files[0], passed_count(how / 32));
}

static void take_step(unsigned step, unsigned which, struct input *input)
{
	const uint64_t session = choose_session(which);

	switch (step) {
	case 0:
		admit(&hostile, HOSTILE);
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		request(session, input);
		break;
	case 5:
		say_shortly(PORTER_LEFT, session, input);
		break;
	case 6:
		say_shortly(PORTER_GONE, session, input);
		break;
	case 7:
		say_shortly(PORTER_OPENED, session, input);
		break;
	case 8:
		rave(session, input);
		break;
	case 9:
	case 10:
		submit(input);
		break;
	case 11:
		ring_doorbell(input);
		break;
	case 12:
		hostile.deaf = !hostile.deaf;
		break;
	case 13:
		hang_up(&hostile);
		break;
	case 14:
		sd_event_run(server->event, 0);
		break;
	case 15:
		be_filer(input);
		break;
	}
	await_clerk(&hostile);
}

/* Have a request of the neighbour's answered. */
static void ask_as_neighbour(const void *request, size_t size, uint32_t answer_type,
			     struct porter_message *answer)
{
	struct porter_message message = {
		.type = PORTER_REQUEST, .session = neighbour.visits[0].session, .value = files[0]};
	struct pollfd event = {.fd = neighbour.socket, .events = POLLIN};

	memcpy(&message.message, request, size);
	REQUIRE(say(&neighbour, &message, porter_message_size(&message), -1, 0));
	while (poll(&event, 1, -1) < 0)
		REQUIRE(errno == EINTR); /* libFuzzer's alarm */
	REQUIRE(listen_once(&neighbour, answer) == PORTER_ANSWER);
	REQUIRE(answer->session == neighbour.visits[0].session);
	REQUIRE(answer->message.header.type == answer_type);
}

/* It is served as if there were nobody else. */
static void check_neighbour(void)
{
	const struct vdm_message_status status = {.header = {VDM_MESSAGE_STATUS, sizeof status}};
	const struct vdm_message_region_add add = {.header = {VDM_MESSAGE_REGION_ADD, sizeof add},
						   .size = MEMORY_FILE_BYTES};
	struct vdm_message_region_remove remove = {
		.header = {VDM_MESSAGE_REGION_REMOVE, sizeof remove}};
	struct porter_message answer;

	ask_as_neighbour(&status, sizeof status, VDM_MESSAGE_STATUS_REPLY, &answer);
	REQUIRE(answer.message.status_reply.session_count == 1);
	ask_as_neighbour(&add, sizeof add, VDM_MESSAGE_REGION_ADDED, &answer);
	remove.region = answer.message.region_added.region;
	ask_as_neighbour(&remove, sizeof remove, VDM_MESSAGE_DONE, &answer);
	REQUIRE(listen_once(&neighbour, &answer) == 0);
}

/* The hostile user has gone, and its clerks with it. What its neighbour has is left. */
static void check_books(void)
{
	struct house *house = &server->house;
	const uint64_t *used = house->users.book.used;
	const struct user *first;

	house_lock(house);
	for (;;) {
		users_sweep(&house->users, true);
		first = LIST_FIRST(&house->users.list);
		if (!LIST_NEXT(first, entry))
			break;
		pthread_cond_wait(&house->clerk_gone, &house->lock);
	}
	REQUIRE(first->uid == NEIGHBOUR);
	REQUIRE(TAILQ_FIRST(&house->sessions)->user == first);
	REQUIRE(!TAILQ_NEXT(TAILQ_FIRST(&house->sessions), entry));
	REQUIRE(used[RESOURCE_SESSIONS] == 1 && used[RESOURCE_RINGS] == 0);
	REQUIRE(used[RESOURCE_REGIONS] == 0 && used[RESOURCE_MAPPED_BYTES] == 0);
	house_unlock(house);
}

/* What an input may do, as it has to be. */
static void converse(void)
{
	const struct vdm_message_ring_create create = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof create}, .entries = 8};
	struct porter_message message = {.type = PORTER_REQUEST};

	admit(&hostile, HOSTILE);
	await_clerk(&hostile);
	REQUIRE(hostile.met == 1);
	message.session = hostile.visits[0].session;
	message.message.ring_create = create;
	REQUIRE(say(&hostile, &message, porter_message_size(&message), -1, 0));
	await_clerk(&hostile);
	REQUIRE(ring.submission);
	message.message.ring_start = ring_start(1);
	REQUIRE(say(&hostile, &message, porter_message_size(&message), -1, 0));
	await_clerk(&hostile);
	REQUIRE(!has_hung_up(hostile.visits[0].lease));
	message.message.files =
		(struct vdm_message_files){{VDM_MESSAGE_FILES, sizeof(struct vdm_message_files)}};
	REQUIRE(say(&hostile, &message, porter_message_size(&message), -1, 0));
	await_clerk(&hostile);
	REQUIRE(listen_as_filer() && listen_as_filer() && !listen_as_filer());
	message.type = PORTER_LEFT;
	REQUIRE(say(&hostile, &message, porter_message_size(&message), -1, 0));
	await_clerk(&hostile);
	REQUIRE(has_hung_up(hostile.visits[0].lease));
}

/* Holding the house's lock. */
static unsigned hostile_clerks(void)
{
	const struct user *user;

	LIST_FOREACH(user, &server->house.users.list, entry)
		if (user->uid == HOSTILE)
			return user->clerks;
	return 0;
}

/* Until the clerks whose porters have ended have ended, too, but for the last. */
static void await_late_clerks(void)
{
	struct house *house = &server->house;

	house_lock(house);
	while (hostile_clerks() > 1)
		pthread_cond_wait(&house->clerk_gone, &house->lock);
	house_unlock(house);
}

/* Who connects after a porter's end has another one, also if the clerk is late. */
static void end_porters(void)
{
	for (unsigned i = 0; i < LATE_CLERKS; i++) {
		const unsigned met = hostile.met;

		await_late_clerks();
		close_if_open(&hostile.socket);
		admit(&hostile, HOSTILE);
		await_clerk(&hostile);
		REQUIRE(hostile.met == met + 1);
	}
}

static void start_server(void)
{
	struct config config;
	int porters[2], refusals[2];

	config_defaults(&config);
	config.limits.handshakes_per_second = 1000000;
	config.workers = 1;
	config.limits.sessions_per_user = SESSIONS;
	config.limits.rings_per_session = 3;
	config.limits.regions_per_session = 3;
	config.limits.entries_per_ring = 64;
	log_set_level(-1);
	open_pair(porters, SOCK_NONBLOCK);
	open_pair(refusals, SOCK_NONBLOCK);
	spawner_end = porters[1];
	refusals_end = refusals[1];
	REQUIRE(server_new(&config,
			   &(struct spawner){.births = porters[0], .refusals = refusals[0]},
			   &server) == 0);
}

static void init(struct porter_end *porter)
{
	porter->socket = -1;
	for (unsigned i = 0; i < SESSIONS; i++) {
		porter->visits[i].socket = porter->visits[i].lease = -1;
		porter->clients[i] = -1;
	}
}

static void set_up(void)
{
	init(&hostile);
	init(&neighbour);
	open_memory_files(files);
	start_server();
	admit(&neighbour, NEIGHBOUR);
	await_clerk(&neighbour);
	REQUIRE(neighbour.met == 1);
	check_neighbour();
	fds_before = count_fds();
	converse();
	end_porters();
}

static void end_all(void)
{
	hang_up(&hostile);
	close_ring();
	check_books();
	check_neighbour();
	/* a clerk closes the last ones when it has said that it ends */
	for (unsigned i = 0; i < LOOKS && count_fds() != fds_before; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	REQUIRE(count_fds() == fds_before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};

	if (!server) {
		set_up();
		end_all();
	}
	fds_before = count_fds();
	for (unsigned i = 0; i < MOST_STEPS && input.size > 0; i++) {
		const uint8_t what = take_byte(&input);

		take_step(what % 16, what / 16 % (SESSIONS + 1), &input);
	}
	end_all();
	return 0;
}
