/* SPDX-License-Identifier: BSD-3-Clause */
#include "filer_process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

/* Stores the name. Returns the parent; 0: there is no such process, or it has ended. */
static pid_t parent_of(pid_t pid, char name[17])
{
	char path[64], state = 'X';
	int parent = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);

	FILE *file = fopen(path, "re");

	name[0] = '\0';
	if (!file)
		return 0;
	if (fscanf(file, "%*d (%16[^)]) %c %d", name, &state, &parent) != 3)
		parent = 0;
	fclose(file);
	return state == 'Z' || state == 'X' ? 0 : parent;
}

pid_t grandchild_named(pid_t daemon, const char *name)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	CHECK(processes, "proc(5) is needed");
	while (!found && (entry = readdir(processes))) {
		const pid_t pid = atoi(entry->d_name);
		char own[17], unused[17];
		const pid_t parent = pid > 0 ? parent_of(pid, own) : 0;

		if (parent > 0 && strcmp(own, name) == 0 && parent_of(parent, unused) == daemon)
			found = pid;
	}
	closedir(processes);
	return found;
}

pid_t filer_awaited(pid_t daemon, pid_t before)
{
	pid_t filer;

	while ((filer = grandchild_named(daemon, "vdmd-filer")) == 0 || filer == before)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return filer;
}
