/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread of the daemon that goes on instruction by instruction, by ptrace(2), while all other
 * threads run; and the client for which it does so. The client stops itself when its part is over.
 */
#ifndef TEST_STEP_THREAD_H
#define TEST_STEP_THREAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The client, a child of the test. */
struct stepped_client {
	pid_t pid;
	bool stopped, ended;
	int status; /* as by wait(2), if it has ended */
};

struct stepped_thread {
	pid_t process, thread;
	int signal;    /* that is to be delivered; 0: none */
	bool stepping; /* an instruction has begun and not ended: a system call that waits */
	bool gone;
	int error; /* negative errno: it cannot be stepped */
};

/* Which threads of a process have a name that others have too: by that they are its first, or are
 * not. */
enum thread_place { THREAD_FIRST, THREAD_LATER };

/* Wait until a process has such a thread. */
pid_t thread_awaited(pid_t process, const char *name, enum thread_place place);

/* Take the thread and let it come to rest: it waits in a system call. Returns 0, or a negative
 * errno if the system does not allow it. */
int step_begin(struct stepped_thread *stepped, pid_t process, pid_t thread);

/*
 * Have the thread carry out `most` instructions, a system call being one. Returns how many it has
 * carried out: fewer if the client is over and the thread waits, or has ended.
 */
uint32_t step_on(struct stepped_thread *stepped, uint32_t most, struct stepped_client *client);

/* SIGKILL for the process. Returns when it has gone. */
void step_kill(struct stepped_thread *stepped);

/* Note what wait(2) says of the client. */
void step_note(struct stepped_client *client, int status);

#endif
