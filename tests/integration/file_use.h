/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of files have in common: a client with a file, a region of all of it, and a ring.
 */
#ifndef TEST_FILE_USE_H
#define TEST_FILE_USE_H

#include <stdbool.h>

#include <libvdm.h>

#define PAGE      ((size_t)4096)
#define FILE_SIZE (16 * PAGE + 123)

extern bool local; /* without a daemon; --local */
extern struct vdm_client *client;
extern struct vdm_ring *ring; /* of 64 entries */
extern int file;
extern struct vdm_region *region;
extern char *in_file; /* where it begins */

/* Of cmocka. */
int file_set_up(void **state);
int file_tear_down(void **state);

/* Reads the options of the program. */
void file_use_arguments(int argc, char **argv);

/* A client as the tests want it. */
struct vdm_client *file_client_opened(void);

/* A region from the beginning of the file; returns where it is. */
char *file_region_opened(struct vdm_client *of, int fd, uint64_t length, unsigned flags,
			 struct vdm_region **region);

/* Add an operation to the ring. */
void add_copy(unsigned data, void *dest, const void *src, size_t n, unsigned flags);
void add_set(unsigned data, void *dest, int c, size_t n, unsigned flags);
void add_flush(unsigned data, void *dest, size_t n, unsigned flags);

/* Add it and wait for it; returns its result. */
int copy(void *dest, const void *src, size_t n, unsigned flags);
int set(void *dest, int c, size_t n, unsigned flags);
int flush(void *dest, size_t n, unsigned flags);

void assert_filled(const char *memory, int c, size_t n);

#endif
