/* SPDX-License-Identifier: BSD-3-Clause */
#include "open_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The next descriptor that is open, or -1. */
static int next_open(DIR *directory)
{
	const struct dirent *e;

	while ((e = readdir(directory))) {
		int fd = (int)strtol(e->d_name, NULL, 10);

		if (e->d_name[0] != '.' && fd != dirfd(directory) && fd < MOST_OPEN_FILES)
			return fd;
	}
	return -1;
}

void open_files_note(struct open_files *files)
{
	DIR *directory = opendir("/proc/self/fd");
	int fd;

	memset(files, 0, sizeof *files);
	while (directory && (fd = next_open(directory)) >= 0)
		files->open[fd] = true;
	if (directory)
		closedir(directory);
}

static bool is_of_kind(int directory, int fd, const char *kind)
{
	char name[16], link[64] = {0};

	snprintf(name, sizeof name, "%d", fd);
	return readlinkat(directory, name, link, sizeof link - 1) > 0 &&
	       strncmp(link, kind, strlen(kind)) == 0;
}

unsigned open_files_new(const struct open_files *files, const char *kind, int *fds, unsigned most)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;
	int fd;

	while (directory && count < most && (fd = next_open(directory)) >= 0)
		if (!files->open[fd] && is_of_kind(dirfd(directory), fd, kind))
			fds[count++] = fd;
	if (directory)
		closedir(directory);
	return count;
}
