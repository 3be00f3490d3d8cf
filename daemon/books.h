/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is held, and by which user. A session's book is summed up in the book of its user, and that
 * one in the daemon's.
 *
 * A charge lives inside the object that it pays for. It gives back exactly what was taken, once. So
 * no path on which an object is freed has to know what the object cost.
 */
#ifndef VDM_DAEMON_BOOKS_H
#define VDM_DAEMON_BOOKS_H

#include <stdint.h>

#include "config.h"
#include "proto/control.h"

/* Descriptors of a ring that is not started, beside those of one that is: of its memory files. */
#define RING_FILES 2

/* What is counted; books.c names the limits. Bytes in flight are counted by the engine. */
enum resource {
	RESOURCE_SESSIONS,
	RESOURCE_RINGS,
	RESOURCE_ENTRIES,
	RESOURCE_REGIONS,
	RESOURCE_MAPPED_BYTES,
	RESOURCE_DESCRIPTORS,
	RESOURCE_MAPPINGS,
	RESOURCE_COUNT
};

/* Descriptors of the event loop, the workers and the log. */
#define DESCRIPTORS_OF_OWN 32

/* Mappings of the program, its libraries, threads and memory. */
#define MAPPINGS_OF_OWN 2048

/* What all users together may have; UINT64_MAX: there is no limit. */
struct totals {
	uint64_t limit[RESOURCE_COUNT];
};

struct book {
	struct book *sum;                   /* counts all of this one, too; NULL: there is none */
	const struct user_config *settings; /* the limits of this book; NULL: it has none */
	const struct totals *totals;        /* of a sum of users' books; NULL: it has none */
	uint64_t used[RESOURCE_COUNT];
};

/* Zeroed: nothing is charged. */
struct charge {
	struct book *book;
	uint64_t amount[RESOURCE_COUNT];
};

/*
 * The totals: sessions as the configuration says, descriptors as RLIMIT_NOFILE does, and mappings
 * as the kernel does.
 */
struct totals totals_in_force(const struct config *config);

/*
 * Charge an object to a book and to all that sum it up. Returns 0; or -EDQUOT with a sentence that
 * names the limit, and then nothing is charged.
 *
 * A user gets one more of a total while it has less than is still free ("dynamic thresholds",
 * Choudhury and Hahne, 1998). So one user gets at most half of a total, and something is left for
 * those who have less.
 */
int charge_session(struct charge *charge, struct book *book, char text[VDM_REFUSAL_TEXT]);
int charge_ring(struct charge *charge, struct book *book, uint32_t entries,
		char text[VDM_REFUSAL_TEXT]);
int charge_region(struct charge *charge, struct book *book, uint64_t bytes,
		  char text[VDM_REFUSAL_TEXT]);
/* A region of a file, which is not mapped. */
int charge_file(struct charge *charge, struct book *book, char text[VDM_REFUSAL_TEXT]);

/*
 * A ring has been started: give back the descriptors that it no longer has.
 */
void charge_ring_started(struct charge *charge);

/*
 * Give back what was charged. A charge that has been released, or that never was made, is left
 * alone.
 */
void charge_release(struct charge *charge);

/*
 * Abort if something is still charged to a book that is about to go: such a leak would lock out its
 * user in the end.
 */
void book_close(const struct book *book);

/*
 * Refuse a request because of the limit `key`: -EDQUOT. The sentence names the user, what `format`
 * says, and the section of the configuration that sets the limit.
 */
int book_refuse(const struct book *book, const char *key, char text[VDM_REFUSAL_TEXT],
		const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
