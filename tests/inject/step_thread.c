/* SPDX-License-Identifier: BSD-3-Clause */
#include "step_thread.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"

/* A thread that has more to do before it rests is not idle. */
#define MOST_STEPS_TO_REST 1000000

/* The name (comm) and the state of a thread as in proc_pid_stat(5); 'X': there is none. */
static char thread_state(pid_t process, pid_t thread, char name[17])
{
	char path[64], state = 'X';

	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)process, (int)thread);

	FILE *file = fopen(path, "re");

	name[0] = '\0';
	if (!file)
		return 'X';
	if (fscanf(file, "%*d (%16[^)]) %c", name, &state) != 2)
		state = 'X';
	fclose(file);
	return state;
}

static pid_t find_thread(pid_t process, const char *name, enum thread_place place)
{
	char path[64], found_name[17];
	pid_t found = 0;

	snprintf(path, sizeof path, "/proc/%d/task", (int)process);

	DIR *threads = opendir(path);
	struct dirent *entry;

	while (!found && threads && (entry = readdir(threads))) {
		const pid_t thread = atoi(entry->d_name);

		if (thread > 0 && (thread == process) == (place == THREAD_FIRST) &&
		    thread_state(process, thread, found_name) != 'X' &&
		    strcmp(found_name, name) == 0)
			found = thread;
	}
	if (threads)
		closedir(threads);
	return found;
}

pid_t thread_awaited(pid_t process, const char *name, enum thread_place place)
{
	pid_t thread;

	while ((thread = find_thread(process, name, place)) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return thread;
}

/* On this thread's CPU, for a step then costs no wakeup of another one. */
static void share_cpu(pid_t thread)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	sched_setaffinity(thread, sizeof set, &set);
	sched_setaffinity(0, sizeof set, &set);
}

void step_note(struct stepped_client *client, int status)
{
	if (WIFSTOPPED(status)) {
		client->stopped = true;
		return;
	}
	client->ended = true;
	client->status = status;
}

/* What wait(2) says of the thread. Returns whether it may go on. */
static bool note_step(struct stepped_thread *stepped, int status)
{
	stepped->stepping = false;
	stepped->signal = 0;
	if (!WIFSTOPPED(status)) {
		stepped->gone = true;
		return false;
	}
	/* PTRACE_EVENT_STOP and the end of a step are no signals */
	if (status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP)
		stepped->signal = WSTOPSIG(status);
	return true;
}

/*
 * One instruction. Returns false if the thread has gone, or if it waits and nothing is going to
 * wake it: there is no client, or the client is over.
 */
static bool step(struct stepped_thread *stepped, struct stepped_client *client)
{
	char name[17];
	int status;

	if (stepped->gone)
		return false;
	if (!stepped->stepping &&
	    ptrace(PTRACE_SINGLESTEP, stepped->thread, NULL, (long)stepped->signal) < 0) {
		stepped->error = -errno;
		return false;
	}
	stepped->stepping = true;
	for (;;) {
		const bool over = !client || client->stopped || client->ended;

		if (over)
			sched_yield(); /* to the thread */

		const pid_t pid = waitpid(-1, &status, __WALL | WUNTRACED | (over ? WNOHANG : 0));

		if (pid == stepped->thread)
			return note_step(stepped, status);
		if (client && pid == client->pid)
			step_note(client, status);
		else if (pid == 0 && thread_state(stepped->process, stepped->thread, name) == 'S')
			return false;
		CHECK(pid >= 0 || errno == EINTR, "%s", strerror(errno));
	}
}

int step_begin(struct stepped_thread *stepped, pid_t process, pid_t thread)
{
	unsigned steps = 0;
	int status;

	*stepped = (struct stepped_thread){.process = process, .thread = thread};
	if (ptrace(PTRACE_SEIZE, thread, NULL, PTRACE_O_EXITKILL) < 0 ||
	    ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) < 0)
		return -errno;
	CHECK(waitpid(thread, &status, __WALL) == thread, "%s", strerror(errno));
	if (note_step(stepped, status))
		share_cpu(thread);
	while (step(stepped, NULL))
		CHECK(steps++ < MOST_STEPS_TO_REST, "the thread does not rest");
	return stepped->error;
}

uint32_t step_on(struct stepped_thread *stepped, uint32_t most, struct stepped_client *client)
{
	uint32_t steps = 0;

	while (steps < most && step(stepped, client))
		steps++;
	CHECK(!stepped->error, "%s", strerror(-stepped->error));
	return steps;
}

void step_kill(struct stepped_thread *stepped)
{
	int status;

	kill(stepped->process, SIGKILL);
	while (!stepped->gone && waitpid(stepped->thread, &status, __WALL) == stepped->thread)
		note_step(stepped, status);
}
