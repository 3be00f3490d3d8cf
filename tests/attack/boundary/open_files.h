/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which files the library has opened: an attacker finds its ring's doorbell and event socket in
 * /proc/self/fd, whatever messages they came in.
 */
#ifndef VDM_TESTS_BOUNDARY_OPEN_FILES_H
#define VDM_TESTS_BOUNDARY_OPEN_FILES_H

#include <stdbool.h>

#define MOST_OPEN_FILES 65536

/* The descriptors that are open at a moment. */
struct open_files {
	bool open[MOST_OPEN_FILES];
};

void open_files_note(struct open_files *files);

/*
 * The descriptors that are open now and were not then, at most `most`, of files whose names in
 * proc(5) begin with `kind`. Returns how many there are.
 */
unsigned open_files_new(const struct open_files *files, const char *kind, int *fds, unsigned most);

#define KIND_SOCKET "socket:"

#endif
