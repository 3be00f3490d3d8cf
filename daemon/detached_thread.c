/* SPDX-License-Identifier: BSD-3-Clause */
#include "detached_thread.h"

#include <pthread.h>
#include <signal.h>

int detached_thread_start(void *(*main)(void *argument), void *argument)
{
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);

	int error = pthread_create(&thread, NULL, main, argument);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_detach(thread);
	return -error;
}
