/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any call that a process of the daemon, or the library, makes during a client's life may fail.
 * Then each call of the library succeeds or says why not, a copy that reports success has moved its
 * bytes, nothing hangs, nothing is left over on either side, and the daemon serves the next client.
 * A porter may end where it cannot go on: then the next client is served by a new one.
 *
 * For each function the first call fails, then the second, and so on, until a whole life makes no
 * further call. Then again, with all calls from that one on failing for a while.
 *
 * test_inject [--verbose] [--fresh] [NAME]: only the row NAME of the table below; with --fresh,
 * each failure has a daemon of its own that has had no client.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "client_processes.h"
#include "daemon_process.h"
#include "inject.h"
#include "process_figures.h"
#include "scale.h"

#define MEMORY     ((size_t)2 << 20)
#define LARGE      ((size_t)1 << 20)
#define SMALL      64
#define HANG_S     120 /* the library gives a daemon 10 s to answer */
#define SETTLE_MS  200 /* how long what the daemon closes may take, at first */
#define MOST_CALLS 300 /* of one function in a life; no life has so many */
/* of a failure after which there is more than before: is it more each time? */
#define REPETITIONS 4
#define LASTING_MS  60 /* how long calls fail in the daemon, if it is not one alone */
/* calls of one function in that time; a loop that spins makes a hundred times as many */
#define MOST_TRIES 500

/* Whose calls fail. Those of the daemon are in the order of enum inject_process. */
enum side { DAEMON, SPAWNER, PORTER, LIBRARY, SIDES };
static const char *const side_names[SIDES] = {"daemon", "spawner", "porter", "library"};

struct fault {
	const char *name;
	enum inject_function function;
	int error;
	uint32_t span;
	unsigned on;               /* sides, as bits */
	enum inject_function then; /* fails once after that, with the same error */
};

#define D (1u << DAEMON)
#define S (1u << SPAWNER)
#define P (1u << PORTER)
#define L (1u << LIBRARY)

static const struct fault faults[] = {
	{"malloc", INJECT_MALLOC, ENOMEM, 1, D | P | L},
	{"mmap", INJECT_MMAP, ENOMEM, 1, D | L},
	{"mprotect", INJECT_MPROTECT, ENOMEM, 1, D},
	{"memfd_create", INJECT_MEMFD_CREATE, EMFILE, 1, D | L},
	{"ftruncate", INJECT_FTRUNCATE, ENOMEM, 1, D | L},
	{"open", INJECT_OPEN, EMFILE, 1, D | S},
	{"dup", INJECT_DUP, EMFILE, 1, D | L},
	{"eventfd", INJECT_EVENTFD, EMFILE, 1, D | L},
	{"timerfd_create", INJECT_TIMERFD, EMFILE, 1, P},
	{"pipe", INJECT_PIPE, EMFILE, 1, S},
	{"epoll_create1", INJECT_EPOLL_CREATE, EMFILE, 1, D | P | L},
	{"epoll_ctl", INJECT_EPOLL_CTL, ENOSPC, 1, D | P | L},
	{"socket", INJECT_SOCKET, EMFILE, 1, L},
	{"socketpair", INJECT_SOCKETPAIR, EMFILE, 1, D | L},
	{"accept", INJECT_ACCEPT, EMFILE, 1, D},
	{"accept", INJECT_ACCEPT, ENFILE, 2, D},
	{"accept", INJECT_ACCEPT, ENOMEM, 1, D},
	{"accept", INJECT_ACCEPT, ENOBUFS, 1, D},
	{"accept", INJECT_ACCEPT, ECONNABORTED, 1, D},
	{"accept, then epoll_ctl", INJECT_ACCEPT, ENOMEM, 1, D, INJECT_EPOLL_CTL},
	{"peer", INJECT_PEER, EMFILE, 1, P},
	{"peer", INJECT_PEER, EMFILE, 2, P},
	{"recvmsg", INJECT_RECVMSG, ENOMEM, 1, D | S | P | L},
	{"recvmsg", INJECT_RECVMSG, EINTR, 1, D | S | P | L},
	{"recvmsg without descriptors", INJECT_RECVMSG_TRUNCATED, 0, 1, D | S | P | L},
	{"sendmsg", INJECT_SENDMSG, ENOBUFS, 1, D | S | P | L},
	{"sendmsg", INJECT_SENDMSG, ENOMEM, 1, D | S | P | L},
	{"sendmsg", INJECT_SENDMSG, EINTR, 1, D | S | P | L},
	{"sendmsg of descriptors", INJECT_SENDMSG_RIGHTS, ETOOMANYREFS, 1, D | S | P | L},
	{"send", INJECT_SEND, ENOBUFS, 1, D | L},
	{"fork", INJECT_FORK, EAGAIN, 1, S},
	{"seccomp_load", INJECT_SECCOMP_LOAD, ENOMEM, 1, P},
	{"pthread_create", INJECT_THREAD, EAGAIN, 1, D | L},
};
#define FAULTS (sizeof faults / sizeof *faults)

static struct inject_control *controls[SIDES];
static struct inject_controls *controls_page; /* of the daemon */
static bool verbose, fresh;
static unsigned complaints;

/* One life of a client, in a process of its own. */
struct life {
	enum side side;
	const struct fault *fault; /* NULL: nothing is to fail */
	uint32_t first;
	bool movers;  /* with futures instead of a ring of its own */
	bool warm;    /* has lived before, and everything that is kept is there */
	bool lasting; /* all calls from the first on fail, for a while */
};

static void arm(const struct life *life)
{
	struct inject_control *control = controls[life->side];

	control->function = life->fault->function;
	control->error = (uint32_t)life->fault->error;
	control->first = life->first;
	control->span = life->lasting ? UINT32_MAX : life->fault->span;
	control->then = life->fault->then;
	control->count = 0;
	control->hits = 0;
	control->armed = 1;
}

/* Returns whether a call of the library failed. It has to fail for a reason, and with a
 * sentence. */
static bool failed(const struct life *life, const char *what, int result)
{
	if (result >= 0)
		return false;
	if (verbose && life->fault)
		printf("    %s: %s: %s\n", what, strerror(-result), vdm_last_error());
	CHECK(life->fault, "%s: %s", what, strerror(-result));
	CHECK(result > -4096, "%s: %d is no errno", what, result);
	CHECK(*vdm_last_error(), "%s: %s, but no sentence", what, strerror(-result));
	/* what runs out, or a connection that was given up for it; never blame the caller */
	CHECK(result == -ENOMEM || result == -EMFILE || result == -ENFILE || result == -ENOBUFS ||
		      result == -ENOSPC || result == -EAGAIN || result == -ENOTCONN ||
		      result == -ETOOMANYREFS,
	      "%s: %s", what, strerror(-result));
	return true;
}

/* Once more, if it failed: the cause has gone; or else to the end. */
#define TRY(life, call)                                                                            \
	do {                                                                                       \
		int result_ = injected(life, (call));                                              \
		if (failed(life, #call, result_)) {                                                \
			if ((life)->lasting)                                                       \
				goto end;                                                          \
			result_ = (call);                                                          \
			CHECK(result_ >= 0, "%s: once more: %s", #call, strerror(-result_));       \
		}                                                                                  \
	} while (0)

/* The library's calls fail while one is made, and not those of the test. */
#define injected(life, call)                                                                       \
	({                                                                                         \
		if ((life)->fault && (life)->side == LIBRARY)                                      \
			inject_control->armed = 1;                                                 \
		int injected_ = (call);                                                            \
		if ((life)->side == LIBRARY)                                                       \
			inject_control->armed = 0;                                                 \
		injected_;                                                                         \
	})

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

/* Submit one copy and collect it: by waiting, or by looking again and again, which leaves it all to
 * the daemon. */
static int copy_once(const struct life *life, struct vdm_ring *ring, char *to, const char *from,
		     size_t size, bool wait)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);
	struct vdm_cqe *cqe = NULL;

	CHECK(sqe, "no entry");
	vdm_prep_memcpy(sqe, to, from, size, 0);
	int result = injected(life, vdm_ring_submit(ring));

	CHECK(result == 1, "submitting: %d", result);
	do {
		result = wait ? injected(life, vdm_ring_wait_cqe(ring, &cqe))
			      : injected(life, vdm_ring_peek_cqe(ring, &cqe));
		if (!wait && result == -EAGAIN)
			nap();
	} while (!wait && result == -EAGAIN);
	CHECK(result == 0, "waiting: %s", strerror(-result));
	result = cqe->result;
	vdm_ring_cqe_seen(ring, cqe);
	return result;
}

static void copy(const struct life *life, struct vdm_ring *ring, char *to, char *from, size_t size,
		 bool wait)
{
	static unsigned char pattern;

	memset(from, ++pattern, size);
	memset(to, 0, size);
	int result = copy_once(life, ring, to, from, size, wait);

	if (result) {
		/* the connection may have been given up; nothing else can be the matter with a
		 * copy */
		CHECK(life->fault && result == -ENOTCONN, "a copy: %s", strerror(-result));
		if (verbose)
			printf("    a copy: %s\n", strerror(-result));
		if (life->lasting)
			return;
		result = copy_once(life, ring, to, from, size, wait);
		CHECK(result == 0, "a copy once more: %s", strerror(-result));
	}
	CHECK(memcmp(to, from, size) == 0, "a copy of %zu bytes says that it is done", size);
}

/* The rings and regions that the daemon has for this process. */
static void check_nothing_is_held(const struct life *life)
{
	struct vdm_status *status = NULL;
	unsigned rings = 0, regions = 0;

	TRY(life, vdm_status_read(NULL, &status));
end:
	for (uint32_t i = 0; status && i < status->session_count; i++) {
		rings +=
			status->session[i].pid == (uint32_t)getpid() ? status->session[i].rings : 0;
		regions += status->session[i].pid == (uint32_t)getpid() ? status->session[i].regions
									: 0;
	}
	free(status);
	CHECK(rings == 0 && regions == 0,
	      "the daemon has %u rings and %u regions of a client that has none", rings, regions);
}

/* A function that returns NULL because something has run out. */
static int is_there(const void *object)
{
	return object ? 0 : -ENOMEM;
}

static void copy_by_future(const struct life *life, struct runtime *runtime, struct vdm *mover,
			   char *to, char *from)
{
	struct vdm_operation_future future;

	memset(from, 'f', LARGE);
	memset(to, 0, LARGE);
	future = vdm_memcpy(mover, to, from, LARGE, 0);
	injected(life, (runtime_wait(runtime, FUTURE_AS_RUNNABLE(&future)), 0));
	if (FUTURE_OUTPUT(&future)->result != VDM_SUCCESS) {
		CHECK(life->fault, "result %d", FUTURE_OUTPUT(&future)->result);
		if (verbose)
			printf("    a future: result %d\n", FUTURE_OUTPUT(&future)->result);
		return;
	}
	CHECK(memcmp(to, from, LARGE) == 0, "a future says that a copy is done");
}

/* With both movers that have threads: the daemon's, and this process's. */
static void live_with_movers(const struct life *life)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = 16,
					    .offload_threshold = 1};
	struct data_mover_daemon *daemon = NULL;
	struct data_mover_threads *threads = NULL;
	struct vdm_region *region = NULL;
	struct runtime *runtime = runtime_new();

	CHECK(runtime, "no runtime");
	TRY(life, is_there(daemon = data_mover_daemon_new(&options)));
	TRY(life, vdm_region_alloc(data_mover_daemon_get_client(daemon), MEMORY, &region));

	char *memory = vdm_region_address(region);

	copy_by_future(life, runtime, data_mover_daemon_get_vdm(daemon), memory, memory + LARGE);
	TRY(life, is_there(threads = data_mover_threads_new(2, 16, FUTURE_NOTIFIER_WAKER)));
	copy_by_future(life, runtime, data_mover_threads_get_vdm(threads), memory + LARGE, memory);
end:
	injected(life, (data_mover_threads_delete(threads), 0));
	CHECK(injected(life, vdm_region_release(region)) == 0, "giving a region back");
	injected(life, (data_mover_daemon_delete(daemon), 0));
	runtime_delete(runtime);
}

static void live_with_ring(const struct life *life)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = 16,
					    .offload_threshold = 1,
					    .spin_us = VDM_NO_SPIN};
	struct vdm_client_counters counters = {.size = sizeof counters};
	struct vdm_region *own = NULL, *imported = NULL;
	struct vdm_client *client = NULL;
	struct vdm_ring *ring = NULL;
	int memfd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(memfd >= 0 && ftruncate(memfd, MEMORY) == 0, "%s", strerror(errno));
	TRY(life, vdm_client_open(&options, &client));
	TRY(life, vdm_region_alloc(client, MEMORY, &own));
	TRY(life, vdm_region_import(client, memfd, NULL, MEMORY, 0, &imported));
	TRY(life, vdm_ring_open(client, NULL, &ring));

	char *from = vdm_region_address(own), *to = vdm_region_address(imported);

	copy(life, ring, to, from, SMALL, true);
	copy(life, ring, from, to, LARGE, false);
	TRY(life, vdm_ring_eventfd(ring));
	copy(life, ring, to, from, LARGE, false);
	CHECK(vdm_client_counters(client, &counters) == 0, "counters");
	CHECK(life->fault || (counters.offloaded == 3 && counters.taken_back == 0),
	      "%llu offloaded, %llu taken back", (unsigned long long)counters.offloaded,
	      (unsigned long long)counters.taken_back);

end:
	injected(life, (vdm_ring_close(ring), 0));
	CHECK(injected(life, vdm_region_release(own)) == 0, "giving a region back");
	CHECK(injected(life, vdm_region_release(imported)) == 0, "giving a region back");
	check_nothing_is_held(life);
	injected(life, (vdm_client_close(client), 0));
	close(memfd);
}

static void live(const struct life *life)
{
	(life->movers ? live_with_movers : live_with_ring)(life);
}

static unsigned count_mappings(pid_t pid)
{
	char path[64];
	unsigned count = 0;
	int c;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");

	CHECK(maps, "%s: %s", path, strerror(errno));
	while ((c = getc(maps)) != EOF)
		count += c == '\n';
	fclose(maps);
	return count;
}

static void be_born(const struct life *life)
{
	const struct life before = {.side = life->side, .movers = life->movers};

	signal(SIGALRM, SIG_DFL);
	alarm(HANG_S);
	if (life->warm) {
		live(&before);
		count_mappings(getpid());
	}

	unsigned fds = count_fds(getpid()), mappings = count_mappings(getpid());
	int64_t blocks = inject_control->blocks;

	if (life->fault)
		arm(life);
	if (life->side == LIBRARY)
		controls[LIBRARY]->armed = 0;
	live(life);
	if (life->side == LIBRARY) {
		blocks = inject_control->blocks - blocks;
		CHECK(count_fds(getpid()) == fds, "%u descriptors, and %u before",
		      count_fds(getpid()), fds);
		if (life->warm) {
			CHECK(blocks == 0, "%lld blocks of memory more than before",
			      (long long)blocks);
			CHECK(count_mappings(getpid()) == mappings, "%u mappings, and %u before",
			      count_mappings(getpid()), mappings);
		}
	}
	fflush(stdout);
	_exit(0);
}

static void complain(const struct life *life, const char *what)
{
	complaints++;
	if (life->fault)
		printf("%s: %s (%s), call %u%s%s%s: %s\n", side_names[life->side],
		       life->fault->name, strerror(life->fault->error), life->first,
		       life->lasting ? " and all later ones" : "",
		       life->warm ? " of a second life" : "", life->movers ? " with movers" : "",
		       what);
	else
		printf("%s\n", what);
	fflush(stdout);
}

static bool lived_well(const struct life *life)
{
	char text[128];
	int status = 0;

	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be_born(life);
	}
	CHECK(child > 0, "%s", strerror(errno));
	pid_t ended = 0;

	for (unsigned i = 0;
	     life->lasting && life->side != LIBRARY && i < 4 * LASTING_MS && ended == 0; i++) {
		ended = waitpid(child, &status, WNOHANG);
		if (ended == 0)
			nap();
	}
	if (ended == 0) {
		if (life->lasting && life->side != LIBRARY)
			controls[life->side]->armed = 0;
		ended = waitpid(child, &status, 0);
	}
	CHECK(ended == child, "%s", strerror(errno));
	if (status == 0)
		return true;
	snprintf(text, sizeof text, "the client %s (status 0x%x)%s",
		 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hangs" : "failed",
		 (unsigned)status, life->fault ? "" : ", and nothing had been made to fail");
	complain(life, text);
	return false;
}

/* Of a process whose first thread alone forks; 0: it has none. */
static pid_t first_child(pid_t parent)
{
	char path[64];
	int child = 0;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
	FILE *file = fopen(path, "re");

	CHECK(file, "%s: %s", path, strerror(errno));
	if (fscanf(file, "%d", &child) != 1)
		child = 0;
	fclose(file);
	return child;
}

/* So that the next client needs a new one, and its life has the calls that make it. */
static void kill_porters(void)
{
	const pid_t spawner = first_child(daemon_pid());
	pid_t porter;

	CHECK(spawner > 0, "the daemon has no spawner");
	for (pid_t last = 0; (porter = first_child(spawner)) > 0; last = porter) {
		if (porter != last)
			kill(porter, SIGKILL);
		nap();
	}
}

/* Without the timer of its event loop, which it has once a client has been slow to greet. */
static unsigned count_porter_fds(pid_t porter)
{
	char path[64], link[320], name[64];
	unsigned count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)porter);
	DIR *directory = opendir(path);

	if (!directory)
		return 0; /* it has ended */
	for (struct dirent *e; (e = readdir(directory));) {
		snprintf(link, sizeof link, "%s/%s", path, e->d_name);
		ssize_t length = readlink(link, name, sizeof name - 1);

		name[length < 0 ? 0 : length] = '\0';
		count += length > 0 && !strstr(name, "timerfd");
	}
	closedir(directory);
	return count;
}

/* What a daemon without clients has, and its porter. */
struct holdings {
	unsigned fds, memory_files, porter_fds;
	int64_t blocks;
};

static struct holdings daemon_holdings(void)
{
	return (struct holdings){count_fds(daemon_pid()), count_memfd_mappings(daemon_pid()),
				 count_porter_fds(first_child(first_child(daemon_pid()))),
				 controls[DAEMON]->blocks};
}

static bool is_more(struct holdings now, struct holdings before)
{
	return now.fds > before.fds || now.memory_files > before.memory_files ||
	       now.porter_fds > before.porter_fds || now.blocks > before.blocks;
}

/* The daemon closes things in the background: give it time. */
static struct holdings settled_holdings(struct holdings before, uint64_t ms)
{
	struct holdings now = daemon_holdings();

	for (uint64_t i = 0; i < 4 * ms && is_more(now, before); i++) {
		nanosleep(&(struct timespec){.tv_nsec = 250000}, NULL);
		now = daemon_holdings();
	}
	return now;
}

static void check_daemon_lives(const struct life *life)
{
	char path[64], line[256] = "";

	snprintf(path, sizeof path, "/proc/%d/stat", (int)daemon_pid());
	FILE *file = fopen(path, "re");
	const char *after_name = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;

	if (file)
		fclose(file);
	if (after_name && after_name[2] != 'Z')
		return;
	complain(life, "the daemon has died");
	exit(1);
}

static struct holdings base;

/* One life with a failure, and one without: afterwards everything is as before. Returns whether the
 * program reached the call that had to fail. */
static bool run(const struct life *life)
{
	const struct life next = {.side = life->side};
	double begin = seconds();

	if (life->side != LIBRARY)
		kill_porters();
	lived_well(life);
	if (life->side != LIBRARY)
		settled_holdings(base, 50); /* the end of the session is part of it */
	controls[life->side]->armed = 0;
	bool hit = controls[life->side]->hits > 0;

	check_daemon_lives(life);
	/* more time, more calls that are all right */
	if (life->lasting && controls[life->side]->count >
				     MOST_TRIES * (1 + (seconds() - begin) * 1000 / LASTING_MS))
		complain(life, "it is tried again and again");
	if (!lived_well(&next))
		complain(life, "the client after that was not served");
	check_daemon_lives(life);

	struct daemon_figures figures = daemon_figures();

	/* the session that asks is one of them; that of a client that has just ended may be noticed
	 * yet */
	for (unsigned i = 0; i < 4000 * HANG_S && figures.sessions > 1; i++) {
		nap();
		figures = daemon_figures();
	}
	if (figures.sessions != 1 || figures.rings > 0 || figures.regions > 0)
		complain(life, "the daemon has sessions, rings or regions left");
	if (figures.violated > 0)
		complain(life, "the daemon says that a client broke the protocol");
	return hit;
}

static void check_nothing_is_left(const struct life *life)
{
	struct holdings before = base, now = settled_holdings(base, SETTLE_MS);
	unsigned more = 0;
	char text[200];

	while (is_more(now, before) && more++ < REPETITIONS) {
		if (life->fault)
			run(life);
		before = now;
		/* the last time, a daemon that has no CPU is waited for */
		now = settled_holdings(before, more < REPETITIONS ? SETTLE_MS : HANG_S * 1000);
	}
	if (more > REPETITIONS) {
		snprintf(text, sizeof text,
			 "the daemon has %u descriptors (%u), %u memory files (%u), %lld blocks "
			 "(%lld), its porter %u descriptors (%u)",
			 now.fds, base.fds, now.memory_files, base.memory_files,
			 (long long)now.blocks, (long long)base.blocks, now.porter_fds,
			 base.porter_fds);
		complain(life, text);
	}
	base = now;
}

/* Find the page next to the daemon's socket, where its wrapper script puts it. */
static void find_controls(void)
{
	char path[256];

	snprintf(path, sizeof path, "%s.inject", getenv("VDM_SOCKET"));
	int fd = open(path, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0, "%s: %s: is the daemon run with the wrappers?", path, strerror(errno));
	controls_page =
		mmap(NULL, sizeof *controls_page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(controls_page != MAP_FAILED, "%s", strerror(errno));
	for (unsigned i = 0; i < INJECT_PROCESSES; i++)
		controls[i] = &controls_page->of[i];
	close(fd);
	unlink(path);
}

/* A daemon of its own, which has had no client. */
static void daemon_begin(struct daemon_process *daemon)
{
	int messages = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char number[16];

	daemon_prepare(daemon);
	dup2(nowhere, STDERR_FILENO);
	daemon_start(daemon, 2);
	dup2(messages, STDERR_FILENO);
	close(messages);
	close(nowhere);
	snprintf(number, sizeof number, "%d", (int)daemon->pid);
	setenv("VDM_DAEMON_PID", number, 1);
	find_controls();
}

static void daemon_finish(const struct life *life, struct daemon_process *daemon)
{
	if (daemon_stop(daemon) != 0)
		complain(life, "the daemon does not end as it should");
	munmap(controls_page, sizeof *controls_page);
	daemon_remove(daemon);
}

static bool run_fresh(const struct life *life)
{
	struct daemon_process daemon;

	daemon_begin(&daemon);
	bool hit = run(life);
	struct holdings now = settled_holdings(base, HANG_S * 1000);

	if (now.fds > base.fds || now.memory_files > base.memory_files) {
		char text[128];

		snprintf(text, sizeof text,
			 "the daemon has %u descriptors (%u), %u memory files (%u)", now.fds,
			 base.fds, now.memory_files, base.memory_files);
		complain(life, text);
	}
	daemon_finish(life, &daemon);
	return hit;
}

/* Every call in turn. Returns how many there are. */
static unsigned fail_each(struct life life)
{
	for (life.first = 1; life.first <= MOST_CALLS; life.first++) {
		if (verbose)
			printf("  %s %s call %u%s%s%s\n", side_names[life.side], life.fault->name,
			       life.first, life.lasting ? " and later" : "",
			       life.warm ? ", warm" : "", life.movers ? ", movers" : "");
		if (!fresh) {
			bool hit = run(&life);

			check_nothing_is_left(&life);
			if (!hit)
				break;
		} else if (!run_fresh(&life)) {
			break;
		}
	}
	CHECK(life.first <= MOST_CALLS, "%s in the %s has no end", life.fault->name,
	      side_names[life.side]);
	return life.first - 1;
}

/* After some clients a daemon has opened all that it opens once and keeps. */
static void find_base(void)
{
	const struct life quiet = {.side = LIBRARY};

	for (unsigned i = 0; i < 3; i++)
		lived_well(&quiet);
	await_sessions(1);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	base = daemon_holdings();
}

/* Functions that are called more often for a daemon's first client, or when a porter is made. */
static bool more_when_fresh(enum inject_function function)
{
	switch (function) {
	case INJECT_MALLOC:
	case INJECT_EPOLL_CREATE:
	case INJECT_EPOLL_CTL:
	case INJECT_PIPE:
	case INJECT_SOCKETPAIR:
	case INJECT_RECVMSG_TRUNCATED:
	case INJECT_SENDMSG_RIGHTS:
	case INJECT_FORK:
	case INJECT_SECCOMP_LOAD:
	case INJECT_THREAD:
		return true;
	default:
		return false;
	}
}

/*
 * No call is interrupted for ever, or told for ever that the peer has gone. And a client's calls
 * fail until it gives up, which it does not while it rings a doorbell: nobody else would.
 */
static bool may_last(const struct life *life)
{
	return life->fault->span == 1 && !life->fault->then && life->fault->error != EINTR &&
	       life->fault->error != ECONNABORTED &&
	       !(life->side == LIBRARY && life->fault->function == INJECT_SEND);
}

/* One call at a time, and then all from one on. Returns how many there are. */
static unsigned try_life(struct life life)
{
	unsigned calls = fail_each(life);

	if (life.side == LIBRARY) {
		life.warm = true;
		fail_each(life);
	}
	if (may_last(&life)) {
		life.lasting = true;
		fail_each(life);
	}
	return calls;
}

static void try_fault(const struct fault *fault, enum side side)
{
	struct life life = {.side = side, .fault = fault};
	double begin = seconds();

	printf("%s, %s (%s):", side_names[side], fault->name, strerror(fault->error));
	printf(" %u calls", try_life(life));
	if (side == LIBRARY) {
		life.movers = true;
		printf(", %u with movers", try_life(life));
	}
	printf(" [%.1f s]\n", seconds() - begin);
}

int main(int argc, char **argv)
{
	struct daemon_process daemon;
	const char *only = NULL;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0)
			verbose = true;
		else if (strcmp(argv[i], "--fresh") == 0)
			fresh = true;
		else
			only = argv[i];
	}
	controls[LIBRARY] = inject_control = shared_between_processes(sizeof *inject_control);
	if (fresh)
		daemon_begin(&daemon);
	else
		find_controls();
	find_base();
	if (fresh) {
		daemon_finish(&(struct life){0}, &daemon);
		base.blocks = INT64_MAX; /* each daemon allocates anew what it keeps */
	}
	for (size_t i = 0; i < FAULTS; i++) {
		if (only ? strcmp(only, faults[i].name) != 0
			 : fresh && !more_when_fresh(faults[i].function))
			continue;
		for (enum side side = DAEMON; side <= (fresh ? PORTER : LIBRARY); side++)
			if (faults[i].on & 1u << side)
				try_fault(&faults[i], side);
	}
	if (complaints)
		printf("%u complaints\n", complaints);
	return complaints > 0;
}
