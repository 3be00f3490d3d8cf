/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory_cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the cgroup of this process is mounted: of version 1 if `controller` is "memory", of version
 * 2 if it is "". */
static int own_cgroup(const char *controller, const char *mount, char *path, size_t size)
{
	char line[512];
	FILE *file = fopen("/proc/self/cgroup", "re");
	int found = 0;

	if (!file)
		return 0;
	while (!found && fgets(line, sizeof line, file)) {
		char *name = strchr(line, ':'), *group = name ? strchr(name + 1, ':') : NULL;

		if (!group)
			continue;
		*group++ = '\0';
		group[strcspn(group, "\n")] = '\0';
		found = strcmp(name + 1, controller) == 0;
		if (found)
			snprintf(path, size, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
	}
	fclose(file);
	return found;
}

static int is_usable(const char *path)
{
	return memory_cgroup_bytes(path) >= 0;
}

void memory_cgroup_make(char *path, size_t size)
{
	static const struct {
		const char *controller, *mount;
	} versions[] = {{"memory", "/sys/fs/cgroup/memory"}, {"", "/sys/fs/cgroup"}};
	char parent[200];

	for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
		if (!own_cgroup(versions[i].controller, versions[i].mount, parent, sizeof parent))
			continue;
		snprintf(path, size, "%s/vdmd-attack-%d", parent, (int)getpid());
		if (mkdir(path, 0755) == 0 && is_usable(path))
			return;
		rmdir(path);
	}
	path[0] = '\0';
}

void memory_cgroup_remove(const char *path)
{
	if (path[0])
		rmdir(path);
}

void memory_cgroup_enter(const char *path)
{
	char name[300];

	if (!path[0])
		return;
	snprintf(name, sizeof name, "%s/cgroup.procs", path);
	FILE *file = fopen(name, "we");

	if (file) {
		fprintf(file, "%d\n", (int)getpid());
		fclose(file);
	}
}

double memory_cgroup_bytes(const char *path)
{
	static const char *const files[] = {"memory.usage_in_bytes", "memory.current"};
	char name[300];
	double bytes = -1;

	for (size_t i = 0; path[0] && bytes < 0 && i < sizeof files / sizeof *files; i++) {
		snprintf(name, sizeof name, "%s/%s", path, files[i]);
		FILE *file = fopen(name, "re");

		if (!file)
			continue;
		if (fscanf(file, "%lf", &bytes) != 1)
			bytes = -1;
		fclose(file);
	}
	return bytes;
}

unsigned memory_cgroup_processes(const char *path, pid_t *pids, unsigned most)
{
	char name[300];
	unsigned count = 0;

	snprintf(name, sizeof name, "%s/cgroup.procs", path);
	FILE *file = fopen(name, "re");

	while (file && count < most && fscanf(file, "%d", &pids[count]) == 1)
		count++;
	if (file)
		fclose(file);
	return count;
}
