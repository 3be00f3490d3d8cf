/* SPDX-License-Identifier: BSD-3-Clause */
/* test_files_lane [--local]: operations on files beside others: order, waits, threads, releases. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "file_use.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define LARGE ((size_t)4 << 20)

static void fences_hold_between_files_and_memory(void **state)
{
	struct vdm_region *shared[2], *longer;
	char *first = region_opened(client, LARGE, &shared[0]);
	char *second = region_opened(client, LARGE, &shared[1]);
	char *address = file_region_opened(client, file, LARGE, VDM_REGION_EXTEND, &longer);
	char *heap = malloc(LARGE);
	unsigned order[6];
	int32_t results[6];

	(void)state;
	assert_non_null(heap);
	for (unsigned round = 1; round <= scaled(30); round++) {
		/* the daemon, the file, the daemon, the file, this process */
		add_set(0, first, (int)round, LARGE, 0);
		add_copy(1, address, first, LARGE, VDM_SQE_FENCE);
		add_copy(2, second, address, LARGE, VDM_SQE_FENCE);
		add_set(3, first, 0, LARGE, VDM_SQE_FENCE);
		add_set(4, address, 0, LARGE, 0); /* may begin with the one before */
		add_copy(5, heap, second, LARGE, VDM_SQE_FENCE);
		run_all(ring, 6, results, order);
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(results[i], 0);
		assert_filled(heap, (int)round, LARGE);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(order[i], i);
		assert_int_equal(order[5], 5);
	}
	free(heap);
	vdm_region_release(longer);
	for (unsigned i = 0; i < 2; i++)
		vdm_region_release(shared[i]);
}

static void a_small_operation_waits_for_a_fence_in_the_file_lane(void **state)
{
	char value = 0, seen;
	unsigned order[4];

	(void)state;
	for (unsigned round = 1; round <= scaled(200); round++) {
		add_set(0, in_file, (int)round, FILE_SIZE, 0);
		add_copy(1, &value, in_file + FILE_SIZE - 1, 1, VDM_SQE_FENCE);
		add_copy(2, &seen, &value, 1, VDM_SQE_FENCE);
		add_flush(3, NULL, 0, 0);
		run_all(ring, 4, NULL, order);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(order[i], i);
		assert_int_equal(seen, (char)round);
	}
}

static void many_operations_are_in_flight_at_once(void **state)
{
	static char memory[64][PAGE], found[64][PAGE];
	struct vdm_region *longer;
	char *address = file_region_opened(client, file, 64 * PAGE, VDM_REGION_EXTEND, &longer);
	int32_t results[64];

	(void)state;
	for (unsigned round = 1; round <= scaled(50); round++) {
		for (unsigned i = 0; i < 64; i++) {
			memset(memory[i], (int)(round + i), PAGE);
			add_copy(i, address + i * PAGE, memory[i], PAGE, 0);
		}
		run_all(ring, 64, results, NULL);
		for (unsigned i = 0; i < 64; i++)
			add_copy(i, found[i], address + i * PAGE, PAGE, 0);
		run_all(ring, 64, results, NULL);
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(results[i], 0);
		assert_memory_equal(found, memory, sizeof memory);
	}
	vdm_region_release(longer);
}

static void a_wait_sleeps_for_both_lanes(void **state)
{
	const struct vdm_options options = {
		.size = sizeof options, .entries = 8, .spin_us = VDM_NO_SPIN};
	struct vdm_region *shared, *longer;
	char *memory = region_opened(client, LARGE, &shared);
	char *address = file_region_opened(client, file, LARGE, VDM_REGION_EXTEND, &longer);
	struct vdm_ring *sleepy;
	struct vdm_cqe *cqes[3];

	(void)state;
	assert_int_equal(vdm_ring_open(client, &options, &sleepy), 0);
	for (unsigned round = 0; round < scaled(100); round++) {
		const struct timespec long_enough = {.tv_sec = 60};

		vdm_prep_memset(entry(sleepy), address, (int)round, LARGE, 0);
		if (round % 2)
			vdm_prep_memset(entry(sleepy), memory, (int)round, LARGE, 0);
		if (round % 4 == 3)
			vdm_prep_flush(entry(sleepy), NULL, 0, 0);
		const unsigned count = 1 + round % 2 + (round % 4 == 3);

		assert_int_equal(vdm_ring_submit(sleepy), count);
		assert_int_equal(vdm_ring_wait_cqes(sleepy, cqes, count, &long_enough), 0);
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(cqes[i]->result, 0);
		vdm_ring_cq_advance(sleepy, count);
	}
	assert_true(counters_of(client).sleeps > 0);
	/* nothing is in flight: such a wait would never end */
	assert_int_equal(vdm_ring_wait_cqe(sleepy, cqes), -EINVAL);
	vdm_ring_close(sleepy);
	vdm_region_release(longer);
	vdm_region_release(shared);
}

static void await_readable(int fd)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&event, 1, 60000), 1);
}

static void the_descriptor_tells_of_files_too(void **state)
{
	char memory[64];
	struct vdm_cqe *cqe;
	int fd = vdm_ring_eventfd(ring);

	(void)state;
	assert_true(fd >= 0);
	for (unsigned round = 0; round < scaled(200); round++) {
		unsigned count = 1 + round % 3, seen = 0;

		assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN);
		for (unsigned i = 0; i < count; i++)
			add_copy(i, in_file + i, in_file + PAGE, PAGE, i ? VDM_SQE_FENCE : 0);
		if (round % 4 == 0) {
			add_copy(count, memory, "memory", 7, VDM_SQE_FENCE);
			count++;
		}
		assert_int_equal(vdm_ring_submit(ring), count);
		while (seen < count) {
			await_readable(fd);
			while (vdm_ring_peek_cqe(ring, &cqe) == 0) {
				assert_int_equal(cqe->result, 0);
				assert_int_equal(cqe->user_data, seen++);
				vdm_ring_cqe_seen(ring, cqe);
			}
		}
	}
	/* a ring that had a lane before it had a descriptor */
	struct vdm_ring *other = ring_opened(client, 4, 0);

	vdm_prep_memset(entry(other), in_file, 0, 1, 0);
	assert_int_equal(run_one(other), 0);
	fd = vdm_ring_eventfd(other);
	vdm_prep_memset(entry(other), in_file, 0, FILE_SIZE, 0);
	assert_int_equal(vdm_ring_submit(other), 1);
	await_readable(fd);
	assert_int_equal(vdm_ring_peek_cqe(other, &cqe), 0);
	vdm_ring_close(other);
}

static void a_region_is_released_when_its_operations_are_over(void **state)
{
	static char memory[32][PAGE], found[PAGE];

	(void)state;
	memset(memory, 'm', sizeof memory);
	for (unsigned round = 0; round < scaled(50); round++) {
		struct vdm_region *longer;
		char *address =
			file_region_opened(client, file, 32 * PAGE, VDM_REGION_EXTEND, &longer);

		assert_int_equal(ftruncate(file, 0), 0);
		for (unsigned i = 0; i < 32; i++)
			add_copy(i, address + i * PAGE, memory[i], PAGE, 0);
		assert_int_equal(vdm_ring_submit(ring), 32);
		assert_int_equal(vdm_region_release(longer), 0);
		for (unsigned i = 0; i < 32; i++) {
			assert_int_equal(pread(file, found, PAGE, (off_t)(i * PAGE)), PAGE);
			assert_memory_equal(found, memory[i], PAGE);
		}
		run_all(ring, 32, NULL, NULL);
	}
}

#define BLOCKS 8
#define BLOCK  ((size_t)64 << 10)

enum place { DAEMON, HEAP, OF_FILE, PLACES };

/* Which blocks the operations since the last ordered one read and write. */
struct used {
	bool read[PLACES][BLOCKS], written[PLACES][BLOCKS];
};

/* Whether an operation has to wait for those. If so, it is ordered, and they are forgotten. */
static bool conflicts(struct used *used, const unsigned to[2], const unsigned from[2], bool ordered)
{
	if (used->written[from[0]][from[1]] || used->written[to[0]][to[1]] ||
	    used->read[to[0]][to[1]])
		ordered = true;
	if (ordered)
		*used = (struct used){0};
	used->read[from[0]][from[1]] = true;
	used->written[to[0]][to[1]] = true;
	return ordered;
}

static void choose_block(unsigned *seed, unsigned block[2])
{
	/* an operation takes the daemon's lane if both of its places are DAEMON */
	static const enum place often[] = {DAEMON, DAEMON, DAEMON, DAEMON, OF_FILE, OF_FILE, HEAP};

	block[0] = often[(unsigned)rand_r(seed) % (sizeof often / sizeof *often)];
	block[1] = (unsigned)rand_r(seed) % BLOCKS;
}

/* Copies between the three places, in any order that fences and links allow. */
static void any_order_agrees_with_the_fences(void **state)
{
	static char heap[BLOCKS * BLOCK], found[BLOCKS * BLOCK];
	static char model[PLACES][BLOCKS * BLOCK];
	struct vdm_region *shared, *longer;
	char *places[PLACES] = {
		region_opened(client, sizeof heap, &shared), heap,
		file_region_opened(client, file, sizeof heap, VDM_REGION_EXTEND, &longer)};
	unsigned seed = 7;
	int32_t results[64];

	(void)state;
	memset(heap, 0, sizeof heap);
	memset(model, 0, sizeof model);
	for (size_t i = 0; i < sizeof heap; i++)
		heap[i] = model[HEAP][i] = (char)rand_r(&seed);
	assert_int_equal(copy(places[OF_FILE], places[DAEMON], sizeof heap, 0), 0);
	for (unsigned round = 0; round < scaled(200); round++) {
		const unsigned count = 1 + (unsigned)rand_r(&seed) % 64;
		struct used used = {0};

		for (unsigned i = 0; i < count; i++) {
			unsigned to[2], from[2];

			choose_block(&seed, to);
			choose_block(&seed, from);
			const size_t n = rand_r(&seed) % 2 ? BLOCK : 100;
			bool ordered = conflicts(&used, to, from, rand_r(&seed) % 8 == 0);
			unsigned flags = (ordered ? VDM_SQE_FENCE : 0) |
					 (rand_r(&seed) % 8 == 0 ? VDM_SQE_LINK : 0);

			add_copy(i, places[to[0]] + to[1] * BLOCK,
				 places[from[0]] + from[1] * BLOCK, n, flags);
			memmove(model[to[0]] + to[1] * BLOCK, model[from[0]] + from[1] * BLOCK, n);
		}
		run_all(ring, count, results, NULL);
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(results[i], 0);
		assert_memory_equal(heap, model[HEAP], sizeof heap);
		assert_memory_equal(places[DAEMON], model[DAEMON], sizeof heap);
		assert_int_equal(pread(file, found, sizeof found, 0), sizeof found);
		assert_memory_equal(found, model[OF_FILE], sizeof found);
	}
	vdm_region_release(longer);
	vdm_region_release(shared);
}

/* The daemon is stopped, so its operation is not complete before the other one. */
static void files_do_not_wait_for_the_daemon(void **state)
{
	struct vdm_region *shared;
	char *memory = region_opened(client, LARGE, &shared);
	const struct timespec long_enough = {.tv_sec = 60};
	struct vdm_cqe *cqes[2];

	(void)state;
	if (local) {
		vdm_region_release(shared);
		skip();
	}
	daemon_freeze();
	add_set(0, memory, 1, LARGE, 0);
	add_copy(1, in_file, "copied", 7, VDM_SQE_DURABLE);
	assert_int_equal(vdm_ring_submit(ring), 2);
	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, 1, &long_enough), 0);
	assert_int_equal(cqes[0]->user_data, 1);
	assert_int_equal(cqes[0]->result, 0);
	vdm_ring_cq_advance(ring, 1);
	/* what follows both does */
	add_copy(2, memory, in_file, 7, VDM_SQE_FENCE);
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_int_equal(vdm_ring_peek_cqe(ring, cqes), -EAGAIN);
	daemon_thaw();
	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, 2, &long_enough), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(cqes[i]->user_data, 2 * i);
		assert_int_equal(cqes[i]->result, 0);
	}
	vdm_ring_cq_advance(ring, 2);
	assert_string_equal(memory, "copied");
	vdm_region_release(shared);
}

/* The daemon is stopped before it begins what is behind the fence. */
static void files_wait_for_a_fence_of_the_daemon(void **state)
{
	const struct timespec short_time = {.tv_nsec = 20000000};
	struct vdm_region *shared;
	char *memory = region_opened(client, LARGE, &shared);
	struct vdm_cqe *cqe;

	(void)state;
	if (local) {
		vdm_region_release(shared);
		skip();
	}
	daemon_freeze();
	add_set(0, memory, 'd', LARGE / 2, 0);
	add_copy(1, memory + LARGE / 2, memory, LARGE / 2, VDM_SQE_FENCE);
	add_copy(2, in_file, memory, FILE_SIZE, 0);
	assert_int_equal(vdm_ring_submit(ring), 3);
	assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &short_time), -ETIME);
	daemon_thaw();
	run_all(ring, 3, NULL, NULL);
	assert_int_equal(copy(memory + 1, in_file + 1, FILE_SIZE - 1, 0), 0);
	assert_filled(memory, 'd', LARGE);
	vdm_region_release(shared);
}

static void memory_is_released_when_files_have_taken_it(void **state)
{
	static char found[LARGE];
	struct vdm_region *longer;
	char *address = file_region_opened(client, file, LARGE, VDM_REGION_EXTEND, &longer);

	(void)state;
	for (unsigned round = 1; round <= scaled(20); round++) {
		struct vdm_region *shared;
		char *memory = region_opened(client, LARGE, &shared);
		int32_t result;

		memset(memory, (int)round, LARGE);
		add_copy(0, address, memory, LARGE, 0);
		assert_int_equal(vdm_ring_submit(ring), 1);
		assert_int_equal(vdm_region_release(shared), 0);
		run_all(ring, 1, &result, NULL);
		assert_true(result == 0 ||
			    (result == -EFAULT && counters_of(client).file_offloaded));
		if (result)
			continue; /* the filer had not begun it */
		assert_int_equal(pread(file, found, LARGE, 0), LARGE);
		assert_filled(found, (int)round, LARGE);
	}
	vdm_region_release(longer);
}

struct writer {
	pthread_t thread;
	unsigned number;
	char *address;
};

static void *writer_main(void *argument)
{
	const struct writer *writer = argument;
	struct vdm_ring *own = ring_opened(client, 16, 0);
	char memory[4096], found[4096];

	for (unsigned round = 0; round < scaled(200); round++) {
		memset(memory, (int)(round + writer->number), sizeof memory);
		for (unsigned i = 0; i < 8; i++) {
			struct vdm_sqe *sqe = entry(own);

			vdm_prep_memcpy(sqe, writer->address + i * 512, memory + i * 512, 512, 0);
			sqe->user_data = i;
		}
		run_all(own, 8, NULL, NULL);
		vdm_prep_memcpy(entry(own), found, writer->address, sizeof found, 0);
		CHECK(run_one(own) == 0, "reading");
		CHECK(memcmp(found, memory, sizeof found) == 0, "round %u", round);

		/* regions come and go beside the operations of other threads */
		struct vdm_region *brief;
		char *address = file_region_opened(client, file, PAGE, 0, &brief);

		vdm_prep_memcpy(entry(own), found, address, sizeof found, 0);
		CHECK(vdm_ring_submit(own) == 1, "submitting");
		CHECK(vdm_region_release(brief) == 0, "releasing");

		struct vdm_cqe *cqe;

		CHECK(vdm_ring_wait_cqe(own, &cqe) == 0 && cqe->result == 0, "reading");
		vdm_ring_cqe_seen(own, cqe);
		if (round % 16 == 0) { /* and so do rings, with operations in flight */
			vdm_prep_memset(entry(own), writer->address, 0, 4096, 0);
			CHECK(vdm_ring_submit(own) == 1, "submitting");
			vdm_ring_close(own);
			own = ring_opened(client, 16, 0);
		}
	}
	vdm_ring_close(own);
	return NULL;
}

static void threads_have_rings_of_their_own(void **state)
{
	struct writer writers[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		writers[i] = (struct writer){.number = i, .address = in_file + i * PAGE};
		assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]),
				 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(writers[i].thread, NULL);
}

static void a_forked_child_may_close_and_open(void **state)
{
	int status;

	(void)state;
	assert_int_equal(set(in_file, 'p', 1, 0), 0);

	pid_t child = fork();

	if (child == 0) {
		CHECK(vdm_region_release(region) == -EOWNERDEAD, "the parent's region");
		vdm_ring_close(ring);
		vdm_client_close(client);
		client = file_client_opened();
		ring = ring_opened(client, 4, 0);
		in_file = file_region_opened(client, file, FILE_SIZE, 0, &region);
		CHECK(set(in_file + 1, 'c', 1, 0) == 0, "the child's region");
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);

	char found[2];

	assert_int_equal(copy(found, in_file, 2, 0), 0);
	assert_memory_equal(found, "pc", 2);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, file_set_up, file_tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(fences_hold_between_files_and_memory),
		WITH_FILE(a_small_operation_waits_for_a_fence_in_the_file_lane),
		WITH_FILE(many_operations_are_in_flight_at_once),
		WITH_FILE(a_wait_sleeps_for_both_lanes),
		WITH_FILE(the_descriptor_tells_of_files_too),
		WITH_FILE(a_region_is_released_when_its_operations_are_over),
		WITH_FILE(any_order_agrees_with_the_fences),
		WITH_FILE(files_do_not_wait_for_the_daemon),
		WITH_FILE(files_wait_for_a_fence_of_the_daemon),
		WITH_FILE(memory_is_released_when_files_have_taken_it),
		WITH_FILE(threads_have_rings_of_their_own),
		WITH_FILE(a_forked_child_may_close_and_open),
	};

	file_use_arguments(argc, argv);
	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
