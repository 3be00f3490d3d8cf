/* SPDX-License-Identifier: BSD-3-Clause */
/* The part of the miniasync program that knows libvdm: it hands out memory that lies in regions. */
#include <stdio.h>
#include <stdlib.h>

#include <libvdm.h>

void *buffer_get(size_t bytes);
int check_the_daemon_counted(unsigned long copies, unsigned long moves, unsigned long sets,
			     unsigned long bytes);

void *buffer_get(size_t bytes)
{
	struct vdm_region *region;

	/* it stays for as long as the process does */
	if (vdm_region_alloc(vdm_client_default(), bytes, &region)) {
		fprintf(stderr, "%s\n", vdm_last_error());
		return NULL;
	}
	return vdm_region_address(region);
}

static int differs(const char *what, unsigned long done, uint64_t counted)
{
	if (done == counted)
		return 0;
	fprintf(stderr, "%s: %lu done, and the daemon counted %lu\n", what, done,
		(unsigned long)counted);
	return 1;
}

int check_the_daemon_counted(unsigned long copies, unsigned long moves, unsigned long sets,
			     unsigned long bytes)
{
	struct vdm_status *status;

	if (vdm_status_read(NULL, &status)) {
		fprintf(stderr, "%s\n", vdm_last_error());
		return 1;
	}
	int failed = differs("memcpy", copies, status->counts.memcpy) |
		     differs("memmove", moves, status->counts.memmove) |
		     differs("memset", sets, status->counts.memset) |
		     differs("bytes", bytes, status->counts.bytes);

	free(status);
	return failed;
}
