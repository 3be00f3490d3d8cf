/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The demonstration: clients copy the bytes of real files and compute a checksum of every copy, in
 * alternating rounds with the copies made by the client's own thread and by the daemon.
 */
#ifndef VDM_DEMO_H
#define VDM_DEMO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct file {
	char *path;
	uint64_t size;
	int fd;
};

/* Files, read as one sequence of `bytes` bytes that begins again at its end. */
struct files {
	struct file *file;
	size_t count;
	uint64_t bytes;
};

/* files.c: find the largest regular files below a directory, or take those named, and open them.
 * Return 0, or -1 after a message. */
int files_largest(struct files *files, const char *directory, size_t count);
int files_named(struct files *files, char **paths, size_t count);
/* Read `size` bytes from `position` on. Returns 0, or -1 after a message. */
int files_read(const struct files *files, uint64_t position, char *buffer, size_t size);
void files_close(struct files *files);

struct checksum {
	uint64_t sum[4];
};

/* checksum.c: of `size` bytes, a multiple of 4. */
struct checksum checksum_of(const char *bytes, size_t size);

/* The ways to copy: rows of the table. */
enum way {
	INLINE,           /* the client's thread, with what the library takes here: memcpy(3) */
	INLINE_STREAMING, /* the client's thread, with the library's stores around the caches */
	OFFLOADED,        /* the daemon, with the same stores */
	WAYS
};

/* What one round took. */
struct sample {
	uint64_t elapsed_ns;    /* from the first client's beginning to the last one's end */
	uint64_t client_cpu_ns; /* of all clients together */
	uint64_t daemon_cpu_ns;
};

/* Fewer could not show a difference: see the sign test in report.c. */
#define ROUNDS_MINIMUM 7
#define ROUNDS_MAXIMUM 10000

/* What one client did. The client alone writes it. */
struct account {
	uint64_t begin_ns, end_ns, cpu_ns; /* in the last round */
	uint64_t offloaded;                /* operations given to the daemon */
	uint64_t taken_back;               /* of these, made by the client while it waited */
};

/* Memory that the clients of a scene share with their parent. The barrier orders all accesses. */
struct stage {
	pthread_barrier_t barrier;
	bool over; /* no further round; client 0 writes it, and what follows */
	unsigned rounds;
	struct sample sample[ROUNDS_MAXIMUM][WAYS];
	struct account account[]; /* of each client */
};

/* A user may have 256 connections (sessions_per_user in vdmd.conf(5)). */
#define CLIENTS_MAXIMUM 240

/* A number of clients at work together. */
struct scene {
	const struct files *files;
	size_t clients;         /* at most CLIENTS_MAXIMUM */
	size_t bytes;           /* that each client copies in one round */
	uint64_t duration_ns;   /* after which no round begins */
	clockid_t daemon_clock; /* the daemon's CPU time */
	/* what scene_run() stores */
	struct stage *stage;
	double others_cpus; /* CPUs that other programs kept busy, on the average */
};

/* scene.c: run the clients, each a process. Returns 0; or -1 after a message, when a client failed
 * or a byte was wrong. */
int scene_run(struct scene *scene);
/* Free what scene_run() allocated, if anything. */
void scene_end(struct scene *scene);

/* client.c: what the process of client number `index` does. Returns its exit status. */
int client_run(const struct scene *scene, size_t index);
/* Bytes that a client copies in one round, when there are so many clients. */
size_t client_bytes(size_t clients);

/* report.c: print what the clients do; the table of a scene, and what follows from it. `cpu_left`:
 * the clients leave CPUs to the daemon. */
void report_work(const struct files *files);
void report_scene(const struct scene *scene, bool cpu_left);

uint64_t clock_ns(clockid_t clock);

#endif
