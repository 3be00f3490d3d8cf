/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "proto/ring.h"

#define MOST_FILES 16

struct mapping {
	struct ring_file file;
	bool writable;
};

/* Mappings of memory files; returns how many there are. */
static unsigned memfd_mappings(struct mapping mappings[MOST_FILES])
{
	char line[512], permissions[5];
	unsigned count = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	CHECK(maps, "/proc/self/maps");
	while (fgets(line, sizeof line, maps)) {
		uintptr_t from, to;

		if (!strstr(line, "/memfd:") ||
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, permissions) != 3)
			continue;
		CHECK(count < MOST_FILES, "too many memory files");
		mappings[count++] =
			(struct mapping){{(char *)from, to - from}, permissions[1] == 'w'};
	}
	fclose(maps);
	return count;
}

static bool is_among(const struct mapping *mapping, const struct mapping *mappings, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (mappings[i].file.memory == mapping->file.memory)
			return true;
	return false;
}

/* The ring's two files are the ones that are mapped after it was opened, and were not before. */
struct vdm_ring *ring_opened_in(struct vdm_client *client, unsigned entries, int priority,
				struct ring_memory *shared)
{
	const struct vdm_options options = {
		.size = sizeof options, .entries = entries, .priority = priority};
	struct vdm_ring *ring;
	struct mapping before[MOST_FILES], after[MOST_FILES];
	unsigned count_before = memfd_mappings(before), fresh = 0;
	CHECK(vdm_ring_open(client, &options, &ring) == 0, "opening a ring");
	unsigned count_after = memfd_mappings(after);

	*shared = (struct ring_memory){0};
	for (unsigned i = 0; i < count_after; i++) {
		if (is_among(&after[i], before, count_before))
			continue;
		*(after[i].writable ? &shared->submission : &shared->completion) = after[i].file;
		fresh++;
	}
	CHECK(fresh == 2 && shared->submission.memory && shared->completion.memory,
	      "a ring has one file that its client writes and one that it does not");
	return ring;
}

bool ring_is_polled(const struct ring_memory *shared)
{
	const struct vdm_daemon_line *line = (const void *)shared->completion.memory;

	/* relaxed; partner: consumer_want_doorbell(). The caller has stopped the daemon. */
	return atomic_load_explicit(&line->doorbell_wanted, memory_order_relaxed) == 0;
}
