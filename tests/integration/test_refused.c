/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The next daemon does not serve a client, or not all that it had: it speaks another version of the
 * protocol, its limits are lower, or the client may not connect any more. No operation fails or is
 * lost. The program can learn the reason from a counter, vdm_last_error() and, with VDM_DEBUG,
 * standard error. A later daemon that does serve it gets its operations again.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libvdm-miniasync/libminiasync.h>

#include "check.h"
#include "daemon_process.h"
#include "ring_use.h"
#include "scale.h"

#define DEPTH 32
#define BYTES ((size_t)64 << 10)

/* To root every socket is open, so the client is another user. */
#define NOBODY 65534

static struct daemon_process the_daemon;
static char *own_version, *other_version; /* programs */

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct data_mover_daemon *mover;
static struct runtime *runtime;
static char *memory; /* DEPTH sources, and as many destinations */
static unsigned rounds;

/* What was written to standard error since the last cause. */
static char lines[1 << 16];
static size_t lines_length;

static ssize_t write_line(void *unused, const char *text, size_t size)
{
	const size_t room = sizeof lines - 1 - lines_length;

	(void)unused;
	memcpy(lines + lines_length, text, size < room ? size : room);
	lines_length += size < room ? size : room;
	return write(STDERR_FILENO, text, size);
}

static void watch_standard_error(void)
{
	stderr = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_line});
	CHECK(stderr, "%s", strerror(errno));
	setvbuf(stderr, NULL, _IOLBF, 0);
}

static void act_as(uid_t uid)
{
	CHECK(getuid() != 0 || seteuid(uid) == 0, "%s", strerror(errno));
}

/* Causes. */

static void speak_other_version(void)
{
	setenv("VDMD", other_version, 1);
}

static void speak_own_version(void)
{
	setenv("VDMD", own_version, 1);
}

static void configure(const char *text)
{
	char path[sizeof the_daemon.directory + 16];

	snprintf(path, sizeof path, "%s/conf", the_daemon.directory);

	FILE *file = fopen(path, "we");

	CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void forget_limits(void)
{
	configure("");
}

static void limit_rings(void)
{
	configure("[limits]\nentries_per_ring = 2\n");
}

static void limit_rings_of_user(void)
{
	configure("[limits]\nentries_per_user = 2\n");
}

static void limit_regions(void)
{
	configure("[limits]\nregion_bytes = 4K\n");
}

static void limit_regions_of_user(void)
{
	configure("[limits]\nmapped_bytes_per_user = 4K\n");
}

static void close_socket(void)
{
	CHECK(chmod(the_daemon.socket, 0) == 0, "%s", strerror(errno));
}

static void open_socket(void)
{
	CHECK(chmod(the_daemon.socket, 0666) == 0, "%s", strerror(errno));
}

static const struct cause {
	void (*begin)(void), (*end)(void);
	const char *sentence; /* a part of what the library says */
	bool ends_at_once;    /* without another daemon */
} causes[] = {
	{speak_other_version, speak_own_version, "install libvdm and vdmd of one release", false},
	{limit_rings, forget_limits, "entries_per_ring", false},
	{limit_rings_of_user, forget_limits, "entries_per_user", false},
	{limit_regions, forget_limits, "region_bytes", false},
	{limit_regions_of_user, forget_limits, "mapped_bytes_per_user", false},
	{close_socket, open_socket, "is this user in the group", true},
};

/* Operations. */

static char *source(unsigned i)
{
	return memory + i * BYTES;
}

static char *dest(unsigned i)
{
	return memory + (DEPTH + i) * BYTES;
}

/* One copy through the mover, and all others through the ring. */
static struct vdm_operation_future begin_round(void)
{
	struct vdm_operation_future last;

	rounds++;
	for (unsigned i = 0; i < DEPTH; i++)
		memset(source(i), (int)(rounds + i), BYTES);
	last = vdm_memcpy(data_mover_daemon_get_vdm(mover), dest(DEPTH - 1), source(DEPTH - 1),
			  BYTES, 0);
	future_poll(FUTURE_AS_RUNNABLE(&last), NULL);
	for (unsigned i = 0; i < DEPTH - 1; i++) {
		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_memcpy(sqe, dest(i), source(i), BYTES, i % 8 ? 0 : VDM_SQE_FENCE);
		sqe->user_data = i;
	}
	CHECK(vdm_ring_submit(ring) == DEPTH - 1, "submitting");
	return last;
}

static void end_round(struct vdm_operation_future *last)
{
	int32_t results[DEPTH - 1];

	run_all(ring, DEPTH - 1, results, NULL);
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(last));
	CHECK(FUTURE_OUTPUT(last)->result == VDM_SUCCESS, "a future");
	for (unsigned i = 0; i < DEPTH - 1; i++)
		CHECK(results[i] == 0, "result %d", results[i]);
	CHECK(memcmp(dest(0), source(0), DEPTH * BYTES) == 0, "wrong bytes");
}

static void run_round(void)
{
	struct vdm_operation_future last = begin_round();

	end_round(&last);
}

static void restart(void (*between)(void))
{
	act_as(0);
	daemon_kill(&the_daemon);
	between();
	daemon_start(&the_daemon, 2);
	act_as(NOBODY);
}

static void is_refused(const struct cause *cause)
{
	const uint64_t before = counters_of(client).refused;
	struct vdm_operation_future last = begin_round();

	lines_length = 0;
	restart(cause->begin);
	end_round(&last);
	while (counters_of(client).refused == before)
		run_round();
	CHECK(strstr(vdm_last_error(), cause->sentence), "not \"%s\"", cause->sentence);
	lines[lines_length] = '\0';
	CHECK(strstr(lines, cause->sentence), "nothing on standard error");

	run_round(); /* each ring has found it out */
	const uint64_t offloaded = counters_of(client).offloaded;

	run_round();
	CHECK(counters_of(client).offloaded == offloaded, "the daemon is given operations");
}

static void is_served(void)
{
	const uint64_t offloaded = counters_of(client).offloaded;

	do
		run_round();
	while (counters_of(client).offloaded - offloaded < DEPTH); /* of both rings */
}

static void outlive(const struct cause *cause)
{
	is_served();
	is_refused(cause);
	if (cause->ends_at_once) {
		act_as(0);
		cause->end();
		act_as(NOBODY);
	} else {
		restart(cause->end);
	}
	is_served();
	CHECK(counters_of(client).failed == 0, "operations failed");
}

int main(int argc, char **argv)
{
	/* no thread of the library's, to which a refusal might be told instead */
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_NOTIFY_NONE,
					    .offload_threshold = 1,
					    .entries = DEPTH};
	struct vdm_region *region;

	CHECK(argc == 2 && getenv("VDMD"), "the other daemon and $VDMD have to be named");
	guard_against_hanging(60);
	other_version = argv[1];
	own_version = strdup(getenv("VDMD"));
	setenv("VDM_DEBUG", "1", 1);
	watch_standard_error();
	daemon_prepare(&the_daemon);
	daemon_listen(&the_daemon);
	CHECK(chmod(the_daemon.directory, 0755) == 0, "%s", strerror(errno));
	open_socket();
	daemon_start(&the_daemon, 2);

	act_as(NOBODY);
	mover = data_mover_daemon_new(&options);
	CHECK(mover, "a mover");
	client = data_mover_daemon_get_client(mover);
	memory = region_opened(client, 2 * DEPTH * BYTES, &region);
	CHECK(vdm_ring_open(client, NULL, &ring) == 0, "a ring");
	runtime = runtime_new();
	for (size_t i = 0; i < sizeof causes / sizeof *causes; i++)
		outlive(&causes[i]);
	runtime_delete(runtime);
	vdm_ring_close(ring);
	vdm_region_release(region);
	data_mover_daemon_delete(mover);
	act_as(0);
	CHECK(daemon_stop(&the_daemon) == 0, "the daemon's exit status");
	daemon_remove(&the_daemon);
	free(own_version);
	return 0;
}
