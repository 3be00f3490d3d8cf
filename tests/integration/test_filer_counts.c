/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file in the current directory is written, made durable and read by the daemon's filer, and the
 * daemon counts that. Prints how the filer does it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "raw_files.h"
#include "scale.h"

#define BYTES ((size_t)1 << 20)

static struct vdm_status_files read_counters(void)
{
	struct vdm_status *status = NULL;

	CHECK(vdm_status_read(NULL, &status) == 0, "the status");

	const struct vdm_status_files files = status->files;

	free(status);
	return files;
}

int main(void)
{
	struct raw_session daemon, filer;
	struct raw_ring ring;
	uint32_t memory, file;
	static char stored[BYTES];
	char path[] = "filer-XXXXXX";
	int fd = mkstemp(path);

	guard_against_hanging(60);
	CHECK(fd >= 0 && ftruncate(fd, BYTES) == 0, "a file in the current directory");
	unlink(path);
	raw_open(&daemon);
	raw_files_open(&daemon, &filer);

	char *bytes = raw_region_add(&filer, BYTES, 0, &memory);
	const struct vdm_status_files before = read_counters();

	CHECK(raw_file_add(&filer, fd, 0, BYTES, 0, &file) == 0, "a file of a directory");
	CHECK(raw_ring_create(&filer, 16, 0, &ring) == 0, "a ring");
	memset(bytes, 'w', BYTES);
	CHECK(raw_copy(&filer, &ring, file, memory, BYTES, VDM_DESCRIPTOR_DURABLE) == 0, "writing");
	CHECK(pread(fd, stored, BYTES, 0) == (ssize_t)BYTES && memcmp(stored, bytes, BYTES) == 0,
	      "it has been written");
	memset(bytes, 0, BYTES);
	CHECK(raw_copy(&filer, &ring, memory, file, BYTES, 0) == 0, "reading");
	CHECK(memcmp(stored, bytes, BYTES) == 0, "it has been read");

	const struct vdm_status_files after = read_counters();

	CHECK(after.operations - before.operations == 2, "two operations are counted");
	CHECK(after.bytes - before.bytes == 2 * BYTES, "and their bytes");
	CHECK(after.syncs - before.syncs == 1, "and a sync");
	CHECK(after.processes >= 1, "a filer");
	CHECK(after.io_uring != 0, "it has said what it uses");
	raw_close(&filer);
	raw_close(&daemon);
	printf("%s\n", after.io_uring > 0 ? "by io_uring" : strerror(-after.io_uring));
	return 0;
}
