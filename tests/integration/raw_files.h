/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection of a raw client to its filer. Its functions end the process as raw_session.h's
 * do. */
#ifndef TEST_RAW_FILES_H
#define TEST_RAW_FILES_H

#include "raw_session.h"

/* Ask for a connection to the filer, and greet there. */
void raw_files_open(struct raw_session *daemon, struct raw_session *filer);

/* Add a part of a file. Returns 0, or the negative errno of a refusal. */
int raw_file_add(struct raw_session *filer, int fd, uint64_t offset, uint64_t size, uint32_t flags,
		 uint32_t *region);

/* Copy from the beginning of one region to that of another. Returns the operation's result. */
int raw_copy(struct raw_session *session, struct raw_ring *ring, uint32_t destination,
	     uint32_t source, size_t length, uint16_t flags);

#endif
