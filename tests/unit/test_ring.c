/* SPDX-License-Identifier: BSD-3-Clause */
/* The native ring with an engine of the same process, and with no daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ring.h"
#include "client/ring_inprocess.h"

struct fixture {
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *regions;
	struct vdm_ring *ring;
	struct vdm_client *client; /* of a local ring */
};

static void start(struct fixture *f, uint32_t entries, uint32_t spin_us)
{
	struct engine_options options = {.workers = 1, .spin_us = 50};

	*f = (struct fixture){0};
	assert_int_equal(engine_new(&options, &f->engine), 0);
	assert_int_equal(engine_account_new(f->engine, &f->account), 0);
	assert_int_equal(engine_memory_new(f->engine, 0, &f->regions), 0);
	assert_int_equal(ring_open_inprocess(f->engine, f->account, f->regions, entries, spin_us,
					     &f->ring),
			 0);
}

static void start_local(struct fixture *f, uint32_t entries)
{
	struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_LOCAL_ONLY, .entries = entries};

	*f = (struct fixture){0};
	assert_int_equal(vdm_client_open(&options, &f->client), 0);
	assert_int_equal(vdm_ring_open(f->client, NULL, &f->ring), 0);
}

static void stop(struct fixture *f)
{
	vdm_ring_close(f->ring);
	vdm_client_close(f->client);
	if (f->engine) {
		engine_memory_delete(f->regions);
		engine_account_delete(f->account);
		engine_delete(f->engine);
	}
}

/* Every test runs on both lanes: they have to be alike. */
#define BOTH_LANES(f, entries)                                                                     \
	for (int lane_ = 0; lane_ < 2; lane_++, stop(f))                                           \
		if (lane_ == 0 ? (start(f, entries, 50), 1) : (start_local(f, entries), 1))

static void I2_a_full_ring_gives_no_entry_and_loses_nothing(void **state)
{
	struct fixture f;

	(void)state;
	BOTH_LANES(&f, 8)
	{
		struct vdm_cqe *cqes[8];
		uint64_t next = 0;

		for (uint64_t i = 0; i < 8; i++) {
			struct vdm_sqe *sqe = vdm_ring_get_sqe(f.ring);

			assert_non_null(sqe);
			vdm_prep_nop(sqe);
			sqe->user_data = i;
		}
		assert_null(vdm_ring_get_sqe(f.ring));
		assert_int_equal(vdm_ring_space_left(f.ring), 0);
		assert_int_equal(vdm_ring_submit(f.ring), 8);
		assert_null(vdm_ring_get_sqe(f.ring));
		assert_int_equal(vdm_ring_wait_cqes(f.ring, cqes, 8, NULL), 0);
		assert_null(vdm_ring_get_sqe(f.ring)); /* complete, but not seen */
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(cqes[i]->user_data, next++);
		vdm_ring_cq_advance(f.ring, 3);
		assert_int_equal(vdm_ring_space_left(f.ring), 3);
		assert_non_null(vdm_ring_get_sqe(f.ring));
		vdm_ring_cq_advance(f.ring, 100); /* more than there are */
		assert_int_equal(vdm_ring_space_left(f.ring), 7);
	}
}

static void operations_do_what_their_names_say(void **state)
{
	struct fixture f;

	(void)state;
	BOTH_LANES(&f, 8)
	{
		char from[300], to[300];
		struct vdm_cqe *cqes[5];

		memset(from, 'a', sizeof from);
		memset(to, 'b', sizeof to);
		vdm_prep_memcpy(vdm_ring_get_sqe(f.ring), to, from, 10, 0);
		vdm_prep_memset(vdm_ring_get_sqe(f.ring), to + 2, 0x100 + 'c', 3, VDM_SQE_FENCE);
		vdm_prep_memmove(vdm_ring_get_sqe(f.ring), to + 1, to, 12, VDM_SQE_FENCE);
		vdm_prep_flush(vdm_ring_get_sqe(f.ring), to, sizeof to, 0);
		vdm_prep_memcpy(vdm_ring_get_sqe(f.ring), NULL, NULL, 0, 0);
		assert_int_equal(vdm_ring_submit(f.ring), 5);
		assert_int_equal(vdm_ring_wait_cqes(f.ring, cqes, 5, NULL), 0);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(cqes[i]->result, 0);
			assert_int_equal(cqes[i]->operation, i);
		}
		assert_int_equal(cqes[0]->value, 10);
		assert_int_equal(cqes[1]->value, 3);
		assert_int_equal(cqes[2]->value, 12);
		assert_int_equal(cqes[3]->value, 0);
		assert_memory_equal(to, "aaacccaaaaabb", 13);
	}
}

static void bad_entries_complete_with_an_error(void **state)
{
	struct fixture f;

	(void)state;
	BOTH_LANES(&f, 16)
	{
		char to[64];
		struct vdm_sqe *sqe;
		struct vdm_cqe *cqes[7];
		static const int want[] = {-EINVAL, -EINVAL,    -EINVAL, -EOPNOTSUPP,
					   -EINVAL, -ECANCELED, 0};

		sqe = vdm_ring_get_sqe(f.ring);
		sqe->opcode = 200;
		vdm_prep_memset(vdm_ring_get_sqe(f.ring), to, 0, 1, 1 << 14);
		sqe = vdm_ring_get_sqe(f.ring);
		vdm_prep_memset(sqe, to, 0, 1, 0);
		sqe->reserved[1] = 1;
		vdm_prep_memset(vdm_ring_get_sqe(f.ring), to, 0, 1, VDM_SQE_DURABLE);
		sqe = vdm_ring_get_sqe(f.ring);
		vdm_prep_memset(sqe, to, 0, 1, VDM_SQE_LINK);
		sqe->value = 256;
		vdm_prep_memset(vdm_ring_get_sqe(f.ring), to, 0, 1, 0);
		/* links to nothing */
		vdm_prep_memset(vdm_ring_get_sqe(f.ring), to, 0, 1, VDM_SQE_LINK);
		assert_int_equal(vdm_ring_submit(f.ring), 7);
		assert_int_equal(vdm_ring_wait_cqes(f.ring, cqes, 7, NULL), 0);
		for (unsigned i = 0; i < 7; i++) /* a lane of its own may overtake */
			assert_int_equal(cqes[i]->result, want[cqes[i]->operation]);
	}
}

static void waiting_for_what_cannot_come_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	BOTH_LANES(&f, 8)
	{
		struct vdm_cqe *cqe;

		assert_int_equal(vdm_ring_peek_cqe(f.ring, &cqe), -EAGAIN);
		assert_int_equal(vdm_ring_wait_cqe(f.ring, &cqe), -EINVAL);
		assert_non_null(strstr(vdm_last_error(), "submitted"));
		vdm_prep_nop(vdm_ring_get_sqe(f.ring));
		assert_int_equal(vdm_ring_wait_cqe(f.ring, &cqe), -EINVAL);
		assert_int_equal(vdm_ring_submit(f.ring), 1);
		assert_int_equal(vdm_ring_wait_cqe(f.ring, &cqe), 0);
		assert_int_equal(vdm_ring_submit(f.ring), 0);
	}
}

static void *slow_copy(void *dest, const void *src, size_t n, unsigned flags)
{
	char byte;

	(void)n;
	(void)flags;
	if (read(*(const int *)src, &byte, 1) < 0)
		abort();
	return dest;
}

static void a_wait_ends_at_its_timeout(void **state)
{
	struct fixture f;
	struct vdm_cqe *cqe;
	struct timespec soon = {.tv_nsec = 2000000};
	int ends[2], to;

	(void)state;
	start(&f, 8, 50);
	assert_int_equal(pipe(ends), 0);
	engine_set_kernels(f.engine, &(struct kernels){.copy = slow_copy});
	vdm_prep_memcpy(vdm_ring_get_sqe(f.ring), &to, &ends[0], sizeof to, 0);
	vdm_ring_submit(f.ring);
	assert_int_equal(vdm_ring_wait_cqes(f.ring, &cqe, 1, &soon), -ETIME);
	assert_int_equal(vdm_ring_peek_cqe(f.ring, &cqe), -EAGAIN);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(vdm_ring_wait_cqes(f.ring, &cqe, 1, NULL), 0);
	close(ends[0]);
	close(ends[1]);
	stop(&f);
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	return poll(&event, 1, timeout_ms) == 1;
}

static void the_descriptor_tells_of_each_completion(void **state)
{
	struct fixture f;

	(void)state;
	BOTH_LANES(&f, 8)
	{
		struct vdm_cqe *cqe;
		int fd = vdm_ring_eventfd(f.ring);

		assert_true(fd >= 0);
		assert_int_equal(vdm_ring_eventfd(f.ring), fd);
		assert_false(readable(fd, 0));
		for (int i = 0; i < 300; i++) {
			vdm_prep_nop(vdm_ring_get_sqe(f.ring));
			vdm_ring_submit(f.ring);
			if (i % 3) /* also without a peek before */
				(void)!readable(fd, 0);
			assert_true(readable(fd, 20000));
			while (vdm_ring_peek_cqe(f.ring, &cqe) == 0)
				vdm_ring_cqe_seen(f.ring, cqe);
			if (vdm_ring_space_left(f.ring) < 8) { /* a signal that came early */
				assert_true(readable(fd, 20000));
				while (vdm_ring_peek_cqe(f.ring, &cqe) == 0)
					vdm_ring_cqe_seen(f.ring, cqe);
			}
			assert_int_equal(vdm_ring_space_left(f.ring), 8);
			assert_false(readable(fd, 0));
		}
	}
}

static void the_descriptor_tells_of_what_was_there_before_it(void **state)
{
	struct fixture f;

	(void)state;
	BOTH_LANES(&f, 8)
	{
		struct vdm_cqe *cqe;

		vdm_prep_nop(vdm_ring_get_sqe(f.ring));
		vdm_ring_submit(f.ring);
		assert_int_equal(vdm_ring_wait_cqe(f.ring, &cqe), 0);
		assert_true(readable(vdm_ring_eventfd(f.ring), 20000));
	}
}

static void fences_keep_order_with_a_sleeping_waiter(void **state)
{
	/* Fences across lanes need a daemon: see the integration tests. */
	struct fixture f;
	char a[64], b[64];

	(void)state;
	start(&f, 8, 0);
	for (int i = 0; i < 2000; i++) {
		struct vdm_cqe *cqes[3];

		vdm_prep_memset(vdm_ring_get_sqe(f.ring), a, i, sizeof a, 0);
		vdm_prep_memcpy(vdm_ring_get_sqe(f.ring), b, a, sizeof a, VDM_SQE_FENCE);
		vdm_prep_flush(vdm_ring_get_sqe(f.ring), NULL, 0, 0);
		vdm_ring_submit(f.ring);
		assert_int_equal(vdm_ring_wait_cqes(f.ring, cqes, 3, NULL), 0);
		assert_int_equal(b[63], (char)i);
		vdm_ring_cq_advance(f.ring, 3);
	}
	stop(&f);
}

static void a_forked_child_is_told_and_the_parent_goes_on(void **state)
{
	struct fixture f;

	(void)state;
	BOTH_LANES(&f, 8)
	{
		struct vdm_cqe *cqe;
		int status;
		pid_t child = fork();

		if (child == 0) {
			struct vdm_client *own = NULL;
			struct vdm_options local = {.size = sizeof local,
						    .flags = VDM_OPTION_LOCAL_ONLY};
			int wrong = 0;

			wrong |= vdm_ring_get_sqe(f.ring) != NULL;
			wrong |= vdm_ring_submit(f.ring) != -EOWNERDEAD;
			wrong |= vdm_ring_peek_cqe(f.ring, &cqe) != -EOWNERDEAD;
			wrong |= vdm_ring_wait_cqe(f.ring, &cqe) != -EOWNERDEAD;
			wrong |= vdm_ring_eventfd(f.ring) != -EOWNERDEAD;
			wrong |= strstr(vdm_last_error(), "parent") == NULL;
			vdm_ring_close(f.ring);
			wrong |= vdm_client_open(&local, &own) != 0;
			vdm_client_close(own);
			_exit(wrong);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		vdm_prep_nop(vdm_ring_get_sqe(f.ring));
		assert_int_equal(vdm_ring_submit(f.ring), 1);
		assert_int_equal(vdm_ring_wait_cqe(f.ring, &cqe), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(I2_a_full_ring_gives_no_entry_and_loses_nothing),
		cmocka_unit_test(operations_do_what_their_names_say),
		cmocka_unit_test(bad_entries_complete_with_an_error),
		cmocka_unit_test(waiting_for_what_cannot_come_is_refused),
		cmocka_unit_test(a_wait_ends_at_its_timeout),
		cmocka_unit_test(the_descriptor_tells_of_each_completion),
		cmocka_unit_test(the_descriptor_tells_of_what_was_there_before_it),
		cmocka_unit_test(fences_keep_order_with_a_sleeping_waiter),
		cmocka_unit_test(a_forked_child_is_told_and_the_parent_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
