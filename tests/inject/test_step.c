/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process of the daemon ends after the n-th instruction of one of its threads, counted from the
 * moment at which a client begins something. Another daemon is started. The client cannot tell:
 * every operation completes once, without an error, every byte is right, and nothing is written
 * after the completion. Some daemons are followed by one that ends at its n-th instruction too,
 * while the client comes back to it.
 *
 * A scene ends three to eight processes, after instructions that differ from run to run;
 * VDM_TEST_SCALE=1000 makes that ten times as many, and 70000 every instruction of a worker's
 * batch. test_step [SCENE [PART N]] is one scene, or one instruction of it.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "client_processes.h"
#include "daemon_process.h"
#include "filer_process.h"
#include "scale.h"
#include "step_client.h"
#include "step_thread.h"

/* How long a scene is: as so many steps, of 18 us each on a virtual machine. A daemon and a
 * client take as long as LIFE_STEPS. */
#define SCENE_STEPS 20000
#define LIFE_STEPS  2000
#define LEAST_LIVES 3
/* With sanitizers: where in a part a process ends at the latest. */
#define ASSUMED_STEPS 10000
#define SKIPPED       77

/* What is stepped. */
enum target { NOTHING, WORKER, EVENT_LOOP, CLERK, SPAWNER, PORTER, FILER, FILER_WORKER, TARGETS };

static const struct {
	const char *process; /* NULL: the daemon itself */
	const char *thread;
	enum thread_place place;
} threads[TARGETS] = {
	[WORKER] = {NULL, "vdm-worker-0", THREAD_LATER},
	[EVENT_LOOP] = {NULL, "vdmd", THREAD_FIRST},
	[CLERK] = {NULL, "vdmd", THREAD_LATER},
	[SPAWNER] = {"vdmd-spawner", "vdmd-spawner", THREAD_FIRST},
	[PORTER] = {"vdmd-porter", "vdmd-porter", THREAD_FIRST},
	[FILER] = {"vdmd-filer", "vdmd-filer", THREAD_FIRST},
	[FILER_WORKER] = {"vdmd-filer", "vdm-worker-0", THREAD_LATER},
};

static const struct scene {
	const char *name;
	enum target target;
	enum target next; /* of the next daemon; NOTHING: that one lives */
	enum step_act act;
	bool fresh; /* nobody has been connected before */
} scenes[] = {
	{.name = "worker", .target = WORKER, .act = ACT_BATCH},
	{.name = "worker, pieces", .target = WORKER, .act = ACT_LARGE},
	{.name = "worker, visit", .target = WORKER, .act = ACT_VISIT},
	{.name = "event loop", .target = EVENT_LOOP, .act = ACT_VISIT},
	{.name = "event loop, first client", .target = EVENT_LOOP, .act = ACT_VISIT, .fresh = true},
	{.name = "clerk", .target = CLERK, .act = ACT_VISIT},
	{.name = "porter", .target = PORTER, .act = ACT_VISIT},
	{.name = "spawner", .target = SPAWNER, .act = ACT_VISIT, .fresh = true},
	{.name = "filer", .target = FILER, .act = ACT_FILES_VISIT},
	{.name = "filer, worker", .target = FILER_WORKER, .act = ACT_FILES},
	{.name = "twice, event loop", .target = WORKER, .next = EVENT_LOOP, .act = ACT_BATCH},
	{.name = "twice, clerk", .target = WORKER, .next = CLERK, .act = ACT_BATCH},
	{.name = "twice, worker", .target = WORKER, .next = WORKER, .act = ACT_BATCH},
};
#define SCENES (sizeof scenes / sizeof *scenes)

static struct daemon_process daemon_of_test;
static cpu_set_t all_cpus;
static struct step_figures *figures;
static unsigned deaths; /* of stepped processes, after the instruction that was to be the last */

static void start_daemon(void)
{
	sched_setaffinity(0, sizeof all_cpus, &all_cpus);
	daemon_start(&daemon_of_test, 1);
}

/* After a step_kill() the daemon may have been waited for. */
static void bury_daemon(void)
{
	waitpid(daemon_of_test.pid, NULL, 0);
	daemon_of_test.pid = 0;
}

/* Its spawner is a child of the daemon, and so a grandchild of the test; the others are children of
 * the spawner. */
static pid_t process_awaited(enum target target)
{
	const pid_t of = target == SPAWNER ? getpid() : daemon_of_test.pid;
	pid_t process = threads[target].process ? 0 : daemon_of_test.pid;

	while (process == 0) {
		process = grandchild_named(of, threads[target].process);
		if (process == 0)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return process;
}

static void take_thread(struct stepped_thread *stepped, enum target target)
{
	const pid_t process = process_awaited(target);
	const pid_t thread = thread_awaited(process, threads[target].thread, threads[target].place);
	const int result = step_begin(stepped, process, thread);

	if (result == -EPERM || result == -ENOSYS || result == -EIO) {
		printf("skipped: ptrace(2) of the daemon's threads: %s\n", strerror(-result));
		daemon_kill(&daemon_of_test);
		daemon_remove(&daemon_of_test);
		exit(SKIPPED);
	}
	CHECK(result == 0, "%s", strerror(-result));
}

/* Wait until the client has stopped or ended. */
static void await_client(struct stepped_client *client)
{
	int status;

	while (!client->stopped && !client->ended) {
		CHECK(waitpid(client->pid, &status, WUNTRACED) == client->pid, "%s",
		      strerror(errno));
		step_note(client, status);
	}
}

static void continue_client(struct stepped_client *client)
{
	client->stopped = false;
	kill(client->pid, SIGCONT);
}

/* A client that does nothing, so that the daemon has a clerk. */
static pid_t start_keeper(void)
{
	struct stepped_client keeper = {.pid = client_process(step_keeper, 0, NULL)};

	await_client(&keeper);
	CHECK(keeper.stopped, "the keeper has ended");
	return keeper.pid;
}

/* The process that has been stepped ends. If that was the daemon, there is another. */
static void end_process(struct stepped_thread *stepped)
{
	step_kill(stepped);
	if (stepped->process != daemon_of_test.pid)
		return;
	bury_daemon();
	start_daemon();
}

/* The client comes back to the next daemon, which ends as well. Returns the instructions. */
static uint32_t die_again(const struct scene *scene, struct stepped_thread *stepped,
			  struct stepped_client *client, uint32_t most)
{
	pid_t keeper = 0;

	kill(client->pid, SIGSTOP); /* it may have stopped before */
	await_client(client);
	end_process(stepped);
	if (scene->next == CLERK)
		keeper = start_keeper();
	take_thread(stepped, scene->next);
	continue_client(client);

	const uint32_t steps = step_on(stepped, most, client);

	if (keeper > 0) {
		kill(keeper, SIGKILL);
		waitpid(keeper, NULL, 0);
	}
	return steps;
}

/* The client does the rest. */
static void await_end(struct stepped_client *client)
{
	int status;

	while (!client->ended) {
		if (client->stopped)
			continue_client(client);

		const pid_t pid = waitpid(-1, &status, WUNTRACED);

		CHECK(pid > 0 || errno == EINTR, "%s", strerror(errno));
		if (pid == client->pid)
			step_note(client, status);
		else if (pid == daemon_of_test.pid) /* without its spawner */
			start_daemon();
	}
}

/*
 * One life of a client, in which the process ends after so many instructions, or when the client is
 * over; and that of the next daemon after `again` ones. Returns how many those of the last process
 * were.
 */
static uint32_t live_through(const struct scene *scene, enum step_part part, uint32_t most,
			     uint32_t again)
{
	static unsigned life;
	struct step_plan plan = {
		.act = scene->act, .part = part, .fresh = scene->fresh, .figures = figures};
	struct stepped_thread stepped;

	start_daemon();

	/* a client that has to wait for the second of two daemons is patient */
	const unsigned way = scene->next == NOTHING ? life % STEP_WAYS : life % STEP_PATIENT_WAYS;

	life++;

	struct stepped_client client = {.pid = client_process(step_client, way, &plan)};

	await_client(&client);
	CHECK(client.stopped, "%s: the client has not begun", scene->name);
	take_thread(&stepped, scene->target);
	continue_client(&client);

	uint32_t steps = step_on(&stepped, most, &client);

	if (scene->next != NOTHING)
		steps = die_again(scene, &stepped, &client, again);
	end_process(&stepped);
	await_end(&client);
	CHECK(client.status == 0, "%s, part %u: %u instructions, then %u: the client %s (0x%x)",
	      scene->name, part, most, again, WIFSIGNALED(client.status) ? "hangs" : "failed",
	      (unsigned)client.status);
	daemon_kill(&daemon_of_test);
	return steps;
}

/* What a scene has to step through: instructions of each part. */
struct extent {
	uint32_t of_first; /* of the first of two daemons, where it ends */
	uint32_t of_part[PARTS];
	uint64_t sum;
};

/*
 * Found in lives in which no process ends before the client is over. With sanitizers there are ten
 * times as many instructions, and too many to count them.
 */
static struct extent measure(const struct scene *scene, enum step_part parts)
{
	const struct scene first = {
		.name = scene->name, .target = scene->target, .act = scene->act};
	struct extent extent = {0};

	if (is_sanitized())
		extent.of_first = ASSUMED_STEPS;
	else if (scene->next != NOTHING)
		extent.of_first = live_through(&first, 0, UINT32_MAX, 0);
	for (enum step_part part = 0; part < parts; part++) {
		const uint32_t in_first = scene->next != NOTHING ? extent.of_first / 2 : UINT32_MAX;

		extent.of_part[part] = is_sanitized()
					       ? ASSUMED_STEPS
					       : live_through(scene, part, in_first, UINT32_MAX);
		extent.sum += extent.of_part[part];
	}
	return extent;
}

/* Every how many instructions a process ends, so that a scene takes its time. */
static uint32_t stride_for(const struct extent *extent)
{
	const uint64_t most = extent->sum / LEAST_LIVES + 1;
	uint64_t steps = 0; /* if a process ended at each */

	for (unsigned i = 0; i < PARTS; i++)
		steps += extent->of_part[i] * (LIFE_STEPS + extent->of_part[i] / 2ull);

	const uint64_t stride = steps / scaled(SCENE_STEPS) + 1;

	return (uint32_t)(stride < most ? stride : most);
}

/* Returns whether the process has ended after that instruction of the part. */
static bool end_at(const struct scene *scene, const struct extent *extent, enum step_part part,
		   uint32_t n)
{
	if (scene->next != NOTHING) /* and the first one at any */
		return live_through(scene, part, 1 + n * 977 % extent->of_first, n) == n;
	return live_through(scene, part, n, 0) == n;
}

static void try_scene(const struct scene *scene)
{
	const bool visits = scene->act == ACT_VISIT || scene->act == ACT_FILES_VISIT;
	const enum step_part parts = visits ? PARTS : 1;
	const struct extent extent = measure(scene, parts);
	const uint32_t stride = stride_for(&extent);
	uint32_t n = 1 + (uint32_t)getpid() % stride;
	const unsigned before = deaths;

	/* the parts lie one behind the other */
	for (enum step_part part = 0; part < parts; n -= extent.of_part[part++])
		for (; n <= extent.of_part[part]; n += stride)
			deaths += end_at(scene, &extent, part, n);
	printf("%s: ended at %u of %llu instructions\n", scene->name, deaths - before,
	       (unsigned long long)extent.sum);
	fflush(stdout);
}

/*
 * A worker polls no ring that is quiet, and the C library (x86) copies nothing by an instruction
 * that repeats itself, for each repetition of it would be a step.
 */
static void configure(void)
{
	char path[sizeof daemon_of_test.directory + 8];

	snprintf(path, sizeof path, "%s/conf", daemon_of_test.directory);
	setenv("GLIBC_TUNABLES",
	       "glibc.cpu.x86_rep_movsb_threshold=1000000000:"
	       "glibc.cpu.x86_rep_stosb_threshold=1000000000",
	       1);

	FILE *file = fopen(path, "we");

	CHECK(file && fputs("[vdmd]\nspin_us = 0\n", file) >= 0 && fclose(file) == 0, "%s",
	      strerror(errno));
}

int main(int argc, char **argv)
{
	const int only = argc > 1 ? atoi(argv[1]) : -1;

	guard_against_hanging((unsigned)(100 + scaled(100)));
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* processes of dead daemons are buried by this one */
	sched_getaffinity(0, sizeof all_cpus, &all_cpus);
	figures = shared_between_processes(sizeof *figures);
	daemon_prepare(&daemon_of_test);
	daemon_listen(&daemon_of_test);
	configure();
	for (int i = 0; i < (int)SCENES; i++)
		if (argc > 3 && only == i)
			live_through(&scenes[i], (enum step_part)atoi(argv[2]),
				     (uint32_t)atoi(argv[3]), 0);
		else if (only < 0 || only == i)
			try_scene(&scenes[i]);
	printf("%llu times to another daemon; %llu operations repeated there, %llu here\n",
	       (unsigned long long)figures->reconnects, (unsigned long long)figures->repeated,
	       (unsigned long long)figures->recovered_here);
	if (only < 0 && !is_sanitized()) {
		CHECK(figures->repeated > 0, "no daemon has repeated anything");
		CHECK(deaths >= SCENES, "only %u processes have ended", deaths);
		CHECK(figures->outlived_two > 0, "no operation has outlived two daemons");
	}
	daemon_remove(&daemon_of_test);
	return 0;
}
