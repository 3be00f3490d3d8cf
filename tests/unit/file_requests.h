/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the backend of files, as the engine would make them. */
#ifndef TEST_FILE_REQUESTS_H
#define TEST_FILE_REQUESTS_H

#include <stdbool.h>

#include "op/backend.h"

struct waiting {
	struct backend_request request;
	struct operation operation;
	bool complete; /* guarded by a mutex if the request has been left in progress */
};

/* Submit an operation, whose facts are filled in. */
void request_begin(struct waiting *waiting, struct backend *backend,
		   const struct operation *operation);

/* Wait until it is complete; returns its error. */
int request_await(struct waiting *waiting);

/* A new file of so many bytes, which has no name. */
int file_of(size_t bytes);

struct files;

/* Add a part of a file, by a descriptor of its own; returns its address. */
char *file_add(struct files *files, int fd, uint64_t offset, uint64_t length, unsigned flags);

#endif
