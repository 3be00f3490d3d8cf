/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory to and from a file: through the library, by io_uring(7) in this program, by pread(2) and
 * pwrite(2), and by memcpy(3) to and from a mapping. The file stays in the page cache. Only ratios
 * mean much.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILE_BYTES  ((size_t)64 << 20)
#define MOST_DEPTH  32
#define SAMPLES     (1u << 16)
#define NS_PER_S    1e9
#define BYTES_IN_GB 1e9

enum transfer { TRANSFER_READ, TRANSFER_WRITE, TRANSFER_DURABLE };

/* What is measured, and with what. */
struct job {
	enum transfer transfer;
	size_t size;
	unsigned depth;
	uint64_t ns; /* how long, at least */
	int fd;
	char *memory, *file; /* regions of the library, of FILE_BYTES */
	char *mapping;       /* of the file */
	struct vdm_ring *ring;
	struct io_uring *uring;
};

struct outcome {
	double gbps, p50_ns, cpu_s_per_gib;
};

/* A run of one way. */
struct run {
	const struct job *job;
	uint64_t begin, bytes;
	double cpu_s;
	uint64_t begun, done;
	uint64_t started[MOST_DEPTH]; /* by slot */
	uint64_t *samples;
	size_t count;
};

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run_begin(struct run *run, const struct job *job)
{
	*run = (struct run){.job = job, .samples = malloc(SAMPLES * sizeof *run->samples)};
	if (!run->samples)
		bench_fail("memory", strerror(ENOMEM));
	run->cpu_s = cpu_s();
	run->begin = now_ns();
}

static int run_goes_on(const struct run *run)
{
	return run->begun < run->job->depth || now_ns() - run->begin < run->job->ns;
}

/* Where the next operation of a run lies, in the memory as in the file. */
static size_t next_offset(struct run *run)
{
	return run->begun++ * run->job->size % FILE_BYTES;
}

static void run_done(struct run *run, uint64_t started)
{
	run->done++;
	run->bytes += run->job->size;
	if (run->count < SAMPLES)
		run->samples[run->count++] = since_ns(started);
}

static struct outcome run_end(struct run *run)
{
	const double s = (double)(now_ns() - run->begin) / NS_PER_S;
	const double cpu = cpu_s() - run->cpu_s, bytes = (double)run->bytes;
	struct outcome outcome = {.gbps = bytes / s / BYTES_IN_GB,
				  .cpu_s_per_gib = cpu / (bytes / (double)(1u << 30))};

	sort_samples(run->samples, run->count);
	outcome.p50_ns = (double)percentile(run->samples, run->count, 500);
	free(run->samples);
	return outcome;
}

static void submit_to_ring(struct run *run, uint64_t slot)
{
	const struct job *job = run->job;
	const size_t at = next_offset(run);
	struct vdm_sqe *sqe = vdm_ring_get_sqe(job->ring);

	if (job->transfer == TRANSFER_READ)
		vdm_prep_memcpy(sqe, job->memory + at, job->file + at, job->size, 0);
	else
		vdm_prep_memcpy(sqe, job->file + at, job->memory + at, job->size,
				job->transfer == TRANSFER_DURABLE ? VDM_SQE_DURABLE : 0);
	sqe->user_data = slot;
	run->started[slot] = now_ns();
	if (vdm_ring_submit(job->ring) < 0)
		bench_fail("submitting", vdm_last_error());
}

static struct outcome by_library(const struct job *job)
{
	struct vdm_cqe *cqe;
	struct run run;

	run_begin(&run, job);
	for (unsigned slot = 0; slot < job->depth; slot++)
		submit_to_ring(&run, slot);
	while (run.done < run.begun) {
		if (vdm_ring_wait_cqe(job->ring, &cqe))
			bench_fail("waiting", vdm_last_error());
		if (cqe->result || cqe->value != job->size)
			bench_fail("an operation on a file", strerror(-cqe->result));
		const uint64_t slot = cqe->user_data;

		vdm_ring_cqe_seen(job->ring, cqe);
		run_done(&run, run.started[slot]);
		if (run_goes_on(&run))
			submit_to_ring(&run, slot);
	}
	return run_end(&run);
}

/* `sync` is an fsync after the write of that slot. */
static void submit_to_uring(struct run *run, uint64_t slot, int sync)
{
	const struct job *job = run->job;
	struct io_uring_sqe *sqe = io_uring_get_sqe(job->uring);

	if (sync) {
		io_uring_prep_fsync(sqe, job->fd, IORING_FSYNC_DATASYNC);
	} else {
		const size_t at = next_offset(run);

		run->started[slot] = now_ns();
		if (job->transfer == TRANSFER_READ)
			io_uring_prep_read(sqe, job->fd, job->memory + at, (unsigned)job->size, at);
		else
			io_uring_prep_write(sqe, job->fd, job->memory + at, (unsigned)job->size,
					    at);
	}
	sqe->user_data = slot << 1 | (unsigned)sync;
	io_uring_submit(job->uring);
}

static struct outcome by_uring(const struct job *job)
{
	struct io_uring_cqe *cqe;
	struct run run;

	run_begin(&run, job);
	for (unsigned slot = 0; slot < job->depth; slot++)
		submit_to_uring(&run, slot, 0);
	while (run.done < run.begun) {
		const int result = io_uring_wait_cqe(job->uring, &cqe);

		if (result == -EINTR)
			continue;
		if (result < 0 || cqe->res < 0)
			bench_fail("io_uring", strerror(result < 0 ? -result : -cqe->res));
		const uint64_t slot = cqe->user_data >> 1;
		const int synced = (cqe->user_data & 1) != 0;

		io_uring_cqe_seen(job->uring, cqe);
		if (job->transfer == TRANSFER_DURABLE && !synced) {
			submit_to_uring(&run, slot, 1);
			continue;
		}
		run_done(&run, run.started[slot]);
		if (run_goes_on(&run))
			submit_to_uring(&run, slot, 0);
	}
	return run_end(&run);
}

static void check(ssize_t result, const char *what)
{
	if (result < 0)
		bench_fail(what, strerror(errno));
}

static void step_by_calls(const struct job *job, size_t at)
{
	if (job->transfer == TRANSFER_READ)
		check(pread(job->fd, job->memory + at, job->size, (off_t)at), "pread");
	else
		check(pwrite(job->fd, job->memory + at, job->size, (off_t)at), "pwrite");
	if (job->transfer == TRANSFER_DURABLE)
		check(fdatasync(job->fd), "fdatasync");
}

static void step_by_mapping(const struct job *job, size_t at)
{
	if (job->transfer == TRANSFER_READ)
		memcpy(job->memory + at, job->mapping + at, job->size);
	else
		memcpy(job->mapping + at, job->memory + at, job->size);
	if (job->transfer == TRANSFER_DURABLE)
		check(msync(job->mapping + at, job->size, MS_SYNC), "msync");
}

static struct outcome one_by_one(const struct job *job,
				 void (*step)(const struct job *job, size_t at))
{
	struct run run;

	run_begin(&run, job);
	while (run_goes_on(&run)) {
		const size_t at = next_offset(&run);
		const uint64_t started = now_ns();

		step(job, at);
		run_done(&run, started);
	}
	return run_end(&run);
}

static void print(const struct job *job, int as_json)
{
	static const char *const names[] = {"read", "write", "durable"};
	static unsigned lines;
	const struct outcome library = by_library(job), uring = by_uring(job),
			     calls = one_by_one(job, step_by_calls),
			     mapping = one_by_one(job, step_by_mapping);

	if (as_json)
		printf("%s{\"op\": \"%s\", \"size\": %zu, \"depth\": %u, \"vdm_gbps\": %.3f, "
		       "\"uring_gbps\": %.3f, \"psync_gbps\": %.3f, \"mmap_gbps\": %.3f, "
		       "\"vdm_p50_ns\": %.0f, \"uring_p50_ns\": %.0f, "
		       "\"client_cpu_s_per_gib\": %.4f, \"psync_cpu_s_per_gib\": %.4f}",
		       lines ? ",\n" : "{\"schema\": 1, \"file\": [\n", names[job->transfer],
		       job->size, job->depth, library.gbps, uring.gbps, calls.gbps, mapping.gbps,
		       library.p50_ns, uring.p50_ns, library.cpu_s_per_gib, calls.cpu_s_per_gib);
	else {
		if (!lines)
			printf("op            size  depth       GB/s: vdm  io_uring    pwrite   mapping"
			       "   p50 ns: vdm  io_uring   CPU s/GiB: vdm    pwrite\n");
		printf("%-7s %10zu  %5u  %14.3f %9.3f %9.3f %9.3f %13.0f %9.0f %16.3f %9.3f\n",
		       names[job->transfer], job->size, job->depth, library.gbps, uring.gbps,
		       calls.gbps, mapping.gbps, library.p50_ns, uring.p50_ns,
		       library.cpu_s_per_gib, calls.cpu_s_per_gib);
	}
	fflush(stdout);
	lines++;
}

/* A file without a name, full of bytes. */
static int make_file(const char *directory, const char *bytes)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/vdm-bench-XXXXXX", directory);

	int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0)
		bench_fail(path, strerror(errno));
	unlink(path);
	for (size_t at = 0; at < FILE_BYTES;) {
		ssize_t written = write(fd, bytes + at, FILE_BYTES - at);

		check(written, "writing the file");
		at += (size_t)written;
	}
	return fd;
}

static void open_regions(struct vdm_client *client, const char *directory, struct job *job)
{
	struct vdm_region *memory, *file;

	if (vdm_region_alloc(client, FILE_BYTES, &memory))
		bench_fail("a region", vdm_last_error());
	job->memory = vdm_region_address(memory);
	memset(job->memory, 'v', FILE_BYTES);
	job->fd = make_file(directory, job->memory);
	if (vdm_region_open_file(client, job->fd, 0, FILE_BYTES, 0, &file))
		bench_fail("a region of a file", vdm_last_error());
	job->file = vdm_region_address(file);
	job->mapping = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			    job->fd, 0);
	if (job->mapping == MAP_FAILED)
		bench_fail("mapping the file", strerror(errno));
	if (vdm_ring_open(client, NULL, &job->ring))
		bench_fail("a ring", vdm_last_error());
}

/* Which lane has carried out the operations of the library. */
static void tell_lane(struct vdm_client *client)
{
	struct vdm_client_counters counters = {.size = sizeof counters};

	vdm_client_counters(client, &counters);
	fprintf(stderr, "vdm-bench: the daemon's filer has carried out %.1f %% of the operations\n",
		100.0 * (double)counters.file_offloaded / (double)counters.file_operations);
}

static void measure(int quick, int local, const char *directory, int as_json)
{
	static const size_t sizes[] = {4096, 65536, 256 << 10, 1 << 20, 64 << 20};
	static const unsigned depths[] = {1, MOST_DEPTH};
	struct io_uring uring;
	struct job job = {.ns = quick ? 100000000 : 1000000000, .uring = &uring};
	int result = io_uring_queue_init(2 * MOST_DEPTH, &uring, 0);
	const struct vdm_options options = {.size = sizeof options,
					    .flags = local ? VDM_OPTION_LOCAL_ONLY : 0};
	struct vdm_client *client;

	if (result < 0)
		bench_fail("io_uring", strerror(-result));
	if (vdm_client_open(&options, &client))
		bench_fail("a client", vdm_last_error());
	open_regions(client, directory, &job);
	for (unsigned transfer = TRANSFER_READ; transfer <= TRANSFER_DURABLE; transfer++)
		for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
			for (unsigned k = 0; k < sizeof depths / sizeof *depths; k++) {
				job.transfer = (enum transfer)transfer;
				job.size = sizes[i];
				job.depth = depths[k];
				print(&job, as_json);
			}
	if (as_json)
		printf("\n]}\n");
	tell_lane(client);
	vdm_ring_close(job.ring);
	munmap(job.mapping, FILE_BYTES);
	close(job.fd);
	io_uring_queue_exit(&uring);
}

void file_help(void)
{
	printf("vdm-bench file: memory to and from a file, beside io_uring, pread and pwrite, and a\n"
	       "mapping in the program itself.\n\n"
	       "  --quick            shorter runs\n"
	       "  --json             print one JSON object\n"
	       "  --local            by threads of this process, whether there is a daemon or not\n"
	       "  --directory PATH   where the file of 64 MiB is (.)\n");
}

int file_main(struct bench *bench, int argc, char **argv)
{
	enum { QUICK = 1, JSON, LOCAL, DIRECTORY, HELP };
	static const struct option known[] = {
		{"quick", no_argument, NULL, QUICK},
		{"json", no_argument, NULL, JSON},
		{"local", no_argument, NULL, LOCAL},
		{"directory", required_argument, NULL, DIRECTORY},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	const char *directory = ".";
	int option, as_json = 0, local = 0;
	char name[] = "vdm-bench file";

	argv[0] = name; /* for messages of getopt_long(3) */
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case QUICK:
			bench->quick = 1;
			break;
		case JSON:
			as_json = 1;
			break;
		case LOCAL:
			local = 1;
			break;
		case DIRECTORY:
			directory = optarg;
			break;
		case HELP:
			file_help();
			return 0;
		default:
			fprintf(stderr, "Try 'vdm-bench file --help'.\n");
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vdm-bench: \"%s\" is not expected\nTry 'vdm-bench file --help'.\n",
			argv[optind]);
		return 2;
	}
	measure(bench->quick, local, directory, as_json);
	return 0;
}
