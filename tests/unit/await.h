/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for facts that another thread or process brings about. */
#ifndef VDM_TESTS_AWAIT_H
#define VDM_TESTS_AWAIT_H

#include <dirent.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

/* How long at most: a limit for what is broken, not a measure. */
#define AWAIT_SECONDS 30

/* Wait until an expression is true. */
#define AWAIT(fact)                                                                                \
	do {                                                                                       \
		const struct timespec moment_ = {.tv_nsec = 1000000};                              \
		const time_t end_ = time(NULL) + AWAIT_SECONDS;                                    \
                                                                                                   \
		while (!(fact)) {                                                                  \
			if (time(NULL) > end_)                                                     \
				fail_msg("never: %s", #fact);                                      \
			nanosleep(&moment_, NULL);                                                 \
		}                                                                                  \
	} while (0)

/* Whether a descriptor is readable, or becomes so. */
static inline bool await_input(int fd)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	return poll(&event, 1, AWAIT_SECONDS * 1000) == 1;
}

/* Whether the peer of a socket has hung up. */
static inline bool is_hung_up(int fd)
{
	struct pollfd event = {.fd = fd, .events = POLLRDHUP};

	return poll(&event, 1, 0) == 1 && (event.revents & (POLLRDHUP | POLLHUP));
}

/* Descriptors that a process has; 0: there is no such process. */
static inline unsigned count_fds_of(pid_t process)
{
	unsigned count = 0;
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/fd", (int)process);

	DIR *directory = opendir(path);

	if (!directory)
		return 0;
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* The first child of a process with one thread; 0: it has none. */
static inline pid_t first_child_of(pid_t process)
{
	char path[64];
	int child = 0;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)process, (int)process);

	FILE *file = fopen(path, "re");

	if (!file || fscanf(file, "%d", &child) != 1)
		child = 0;
	if (file)
		fclose(file);
	return child;
}

#endif
