/* SPDX-License-Identifier: BSD-3-Clause */
#include "attackers.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "integration/check.h"
#include "integration/client_processes.h"

/* What a distribution lets a user have: systemd sets a hard limit of 524288. */
#define ATTACKER_DESCRIPTORS 65536

/* What attackers share with the launcher. */
static struct board {
	_Atomic unsigned ready;
	_Atomic uint64_t rounds;
	_Atomic bool skipped;
	char reason[160];
} * board;

static const char *directory;
static pid_t daemon_process;
static double attack_seconds;

/* From this length on, and the part of everything that a shorter attack makes. */
#define FULL_SECONDS 5
#define SHORT_PART   8

void attack_ready(void)
{
	/* relaxed: a counter */
	atomic_fetch_add_explicit(&board->ready, 1, memory_order_relaxed);
}

void attack_round(void)
{
	/* relaxed: a counter */
	atomic_fetch_add_explicit(&board->rounds, 1, memory_order_relaxed);
}

void attack_skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(board->reason, sizeof board->reason, format, arguments);
	va_end(arguments);
	/* release; partner: attackers_skipped(), acquire */
	atomic_store_explicit(&board->skipped, true, memory_order_release);
	_exit(0);
}

const char *attack_directory(void)
{
	return directory;
}

pid_t attack_daemon(void)
{
	return daemon_process;
}

unsigned attack_scaled(unsigned full)
{
	return attack_seconds >= FULL_SECONDS ? full : full / SHORT_PART;
}

void attack_pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
		  NULL);
}

void attack_thread(void *(*main)(void *argument), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 256 << 10);
	if (pthread_create(&thread, &attributes, main, argument) != 0)
		attack_skip("no more threads");
	pthread_attr_destroy(&attributes);
}

pid_t attack_fork(void)
{
	pid_t parent = getpid(), child = fork();

	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	return 0;
}

void limit_descriptors(unsigned most)
{
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0, "%s", strerror(errno));
	if (limit.rlim_max > most)
		limit.rlim_max = most;
	if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){most, most}) == 0)
		return;
	limit.rlim_cur = limit.rlim_max; /* raising it needs CAP_SYS_RESOURCE */
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0, "%s", strerror(errno));
}

/* Give up root. */
static void become_user(uid_t uid)
{
	CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 &&
		      setresuid(uid, uid, uid) == 0,
	      "%s", strerror(errno));
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the user clears it, prctl(2) */
	prctl(PR_SET_DUMPABLE, 1);
}

/* What fails is expected to fail: nobody wants to read it. */
static void be_quiet(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

static void run_body(const struct attack *attack, unsigned index)
{
	uid_t uid = attack->users ? ATTACKER_UID_0 - (uid_t)(index % attack->users) : HONEST_UID;

	setpgid(0, 0);
	signal(SIGPIPE, SIG_IGN);
	limit_descriptors(ATTACKER_DESCRIPTORS);
	if (attack->prepare)
		attack->prepare(index);
	become_user(uid);
	be_quiet();
	attack->body(index);
	_exit(0);
}

void attackers_init(double seconds)
{
	attack_seconds = seconds;
	board = shared_between_processes(sizeof *board);
}

void attackers_start(struct attackers *attackers, const struct attack *attack,
		     const char *daemon_directory, pid_t daemon)
{
	*attackers = (struct attackers){.count = attack->processes};
	CHECK(attackers->count <= MOST_ATTACKERS, "%u processes", attackers->count);
	memset(board, 0, sizeof *board);
	directory = daemon_directory;
	daemon_process = daemon;
	for (unsigned i = 0; i < attackers->count; i++) {
		pid_t child = attack_fork();

		CHECK(child >= 0, "%s", strerror(errno));
		if (child == 0)
			run_body(attack, i);
		setpgid(child, child);
		attackers->pids[i] = child;
	}
}

bool attackers_are_ready(const struct attackers *attackers)
{
	/* relaxed: a counter */
	return atomic_load_explicit(&board->ready, memory_order_relaxed) >= attackers->count;
}

const char *attackers_skipped(void)
{
	/* acquire; partner: attack_skip(), release */
	return atomic_load_explicit(&board->skipped, memory_order_acquire) ? board->reason : NULL;
}

uint64_t attackers_rounds(void)
{
	/* relaxed: a counter */
	return atomic_load_explicit(&board->rounds, memory_order_relaxed);
}

void attackers_stop(struct attackers *attackers)
{
	for (unsigned i = 0; i < attackers->count; i++) {
		kill(-attackers->pids[i], SIGKILL);
		kill(attackers->pids[i], SIGKILL);
	}
	for (unsigned i = 0; i < attackers->count; i++)
		waitpid(attackers->pids[i], NULL, 0);
	attackers->count = 0;
}
