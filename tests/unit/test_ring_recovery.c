/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon ends, and another one comes or does not: what becomes of each operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libvdm.h>
#include <libvdm-miniasync/libminiasync/data_mover_threads.h>

#include "client/client.h"
#include "client/mover.h"
#include "client/ring.h"
#include "client/ring_progress.h"
#include "client/ring_recovery.h"
#include "client/ring_submit.h"
#include "client/ring_take_back.h"
#include "puppet_daemon.h"

#define SIZE    ((size_t)64 << 10) /* more than VDM_CLAIM_BYTES */
#define ENTRIES 8
#define FOREVER 600000 /* ms: longer than the test may take */

/* More than a look that is not patient waits for an answer (client/ring_recovery.c). */
#define IMPATIENT_MS 50

static struct puppet_daemon puppet;
static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *region;
static char *memory; /* ENTRIES sources, and as many destinations */
static const _Atomic bool never = false;

static void open_client(uint32_t flags, uint32_t recovery_timeout_ms)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = puppet.path,
					    .flags = VDM_OPTION_REQUIRE_DAEMON | flags,
					    .offload_threshold = 1,
					    .spin_us = VDM_NO_SPIN,
					    .answer_timeout_ms = FOREVER,
					    .recovery_timeout_ms = recovery_timeout_ms,
					    .first_sequence = puppet.first,
					    .entries = ENTRIES};

	assert_int_equal(vdm_client_open(&options, &client), 0);
	assert_int_equal(vdm_region_alloc(client, 2 * ENTRIES * SIZE, &region), 0);
	memory = vdm_region_address(region);
	for (unsigned i = 0; i < ENTRIES; i++)
		memset(memory + i * SIZE, 'a' + (int)i, SIZE);
	assert_int_equal(vdm_ring_open(client, NULL, &ring), 0);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 1);
}

static int start_puppet(void **state)
{
	(void)state;
	puppet_start(&puppet);
	return 0;
}

static int set_up(void **state)
{
	start_puppet(state);
	open_client(0, FOREVER);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	puppet_stop(&puppet);
	return 0;
}

static char *dest(unsigned i)
{
	return memory + (ENTRIES + i) * SIZE;
}

/* A copy that is known by its length, and by its user_data. */
static void prepare(unsigned i, unsigned flags)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

	assert_non_null(sqe);
	vdm_prep_memcpy(sqe, dest(i), memory + i * SIZE, SIZE - i, flags);
	sqe->user_data = 100 + i;
}

static void submit_copies(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		prepare(i, 0);
	assert_int_equal(vdm_ring_submit(ring), count);
}

static void notice(void)
{
	ring_take_signals(ring);
	ring_progress(ring);
}

/* The daemon ends, and the client meets another one, however long that takes: a look that waits for
 * nothing is not patient. */
static void change_daemon(void)
{
	puppet_hang_up(&puppet);
	connection_renew(&client->connection, FOREVER);
}

/* The same, and the other one serves the ring. */
static void die_and_return(void)
{
	const unsigned starts = puppet_received(&puppet, VDM_MESSAGE_RING_START);

	change_daemon();
	notice();
	assert_true(ring->connected);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, starts + 1);
}

/* There is no other daemon. */
static void die(void)
{
	puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
	notice();
	assert_false(ring->connected);
}

/* The `index`-th operation that this daemon has been given is copy `i`. */
static void expect_given(unsigned index, unsigned i, unsigned flags)
{
	const struct vdm_descriptor *d = puppet_descriptor(&puppet, puppet.first + index);

	assert_int_equal(d->length, SIZE - i);
	assert_int_equal(d->flags, flags);
	assert_int_equal(d->source_offset, i * SIZE);
	assert_int_equal(d->destination_region, puppet.regions);
}

static void complete(unsigned index, int32_t result)
{
	puppet_complete(&puppet, puppet.first + index, result, 0);
}

static void expect_completion(unsigned i, uint32_t operation, int32_t result)
{
	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->user_data, 100 + i);
	assert_int_equal(cqe->operation, operation);
	assert_int_equal(cqe->result, result);
	assert_int_equal(cqe->value, result ? 0 : SIZE - i);
	vdm_ring_cqe_seen(ring, cqe);
}

static void expect_no_completion(void)
{
	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN);
}

static bool is_copied(unsigned i)
{
	return dest(i)[0] == 'a' + (int)i && dest(i)[SIZE - i - 1] == 'a' + (int)i;
}

static struct vdm_client_counters counters(void)
{
	struct vdm_client_counters sum = {.size = sizeof sum};

	assert_int_equal(vdm_client_counters(client, &sum), 0);
	return sum;
}

static void what_is_in_flight_is_repeated_in_its_order(void **state)
{
	(void)state;
	submit_copies(ENTRIES);
	complete(2, 0); /* the places of the others are no longer in order */
	complete(0, 0);
	expect_completion(2, 2, 0);
	expect_completion(0, 0, 0);
	prepare(0, VDM_SQE_FENCE);
	prepare(2, 0);
	assert_int_equal(vdm_ring_submit(ring), 2);
	die_and_return();
	assert_int_equal(puppet_published(&puppet), ENTRIES);
	expect_given(0, 1, 0);
	for (unsigned i = 3; i < ENTRIES; i++)
		expect_given(i - 2, i, 0);
	expect_given(ENTRIES - 2, 0, VDM_SQE_FENCE);
	expect_given(ENTRIES - 1, 2, 0);
	for (unsigned i = ENTRIES; i-- > 0;)
		complete(i, 0);
	expect_completion(2, ENTRIES + 1, 0);
	expect_completion(0, ENTRIES, 0);
	for (unsigned i = ENTRIES; i-- > 3;)
		expect_completion(i, i, 0);
	expect_completion(1, 1, 0);
	expect_no_completion();
	assert_int_equal(counters().repeated, ENTRIES);
	assert_int_equal(counters().reconnects, 1);
	assert_int_equal(counters().failed, 0);
}

static void what_was_not_yet_published_comes_after_it(void **state)
{
	(void)state;
	prepare(0, 0);
	prepare(1, VDM_SQE_FENCE);
	vdm_prep_memmove(vdm_ring_get_sqe(ring), dest(2) + 1, dest(2), 9, 0); /* waits, here */
	prepare(3, 0);
	assert_int_equal(vdm_ring_submit(ring), 4);
	assert_int_equal(puppet_published(&puppet), 2);
	die_and_return();
	assert_int_equal(puppet_published(&puppet), 2);
	expect_given(0, 0, 0);
	expect_given(1, 1, VDM_SQE_FENCE);
	complete(0, 0);
	complete(1, 0);
	notice();
	assert_int_equal(puppet_published(&puppet), 3);
	expect_given(2, 3, 0);
	complete(2, 0);
	expect_completion(0, 0, 0);
	expect_completion(1, 1, 0);
	vdm_ring_cq_advance(ring, 1);
	expect_completion(3, 3, 0);
}

static void what_is_complete_is_not_repeated(void **state)
{
	(void)state;
	submit_copies(3);
	complete(1, 0);
	complete(0, 0);
	die_and_return();
	assert_int_equal(puppet_published(&puppet), 1);
	expect_given(0, 2, 0);
	expect_completion(1, 1, 0);
	expect_completion(0, 0, 0);
	expect_no_completion();
	complete(0, 0);
	expect_completion(2, 2, 0);
}

static void submit_chain(void)
{
	prepare(0, VDM_SQE_LINK);
	prepare(1, VDM_SQE_LINK);
	prepare(2, 0);
	prepare(3, 0);
	assert_int_equal(vdm_ring_submit(ring), 4);
	assert_int_equal(puppet_published(&puppet), 4);
}

static void a_chain_is_repeated_as_one(void **state)
{
	(void)state;
	submit_chain();
	complete(0, 0);
	die_and_return();
	expect_given(0, 1, VDM_SQE_LINK);
	expect_given(1, 2, 0);
	expect_given(2, 3, 0);
	die();
	for (unsigned i = 0; i < 4; i++)
		expect_completion(i, i, 0);
	assert_false(is_copied(0)); /* by the puppet, which moves nothing */
	assert_true(is_copied(1) && is_copied(2) && is_copied(3));
}

static void expect_cancelled_chain(void)
{
	expect_completion(0, 0, -EFAULT);
	expect_completion(1, 1, -ECANCELED);
	expect_completion(2, 2, -ECANCELED);
	assert_int_equal(puppet_published(&puppet), 1);
	expect_given(0, 3, 0);
	complete(0, 0);
	expect_completion(3, 3, 0);
	assert_false(is_copied(1) || is_copied(2));
}

static void the_rest_of_a_chain_that_failed_is_cancelled(void **state)
{
	(void)state;
	submit_chain();
	complete(0, -EFAULT);
	die_and_return();
	expect_cancelled_chain();
}

static void the_same_if_the_failure_has_been_seen(void **state)
{
	(void)state;
	submit_chain();
	complete(0, -EFAULT);
	notice();
	die_and_return();
	expect_cancelled_chain();
}

static void what_two_daemons_have_not_survived_is_done_here(void **state)
{
	(void)state;
	submit_copies(2);
	die_and_return();
	complete(0, 0);
	expect_completion(0, 0, 0);
	prepare(0, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	die_and_return();
	assert_int_equal(puppet_published(&puppet), 1);
	expect_given(0, 0, 0);
	expect_completion(1, 1, 0);
	assert_true(is_copied(1));
	assert_int_equal(counters().recovered_here, 1);
	assert_int_equal(counters().repeated, 3);
	/* a place remembers nothing of the entry before */
	prepare(1, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_int_equal(puppet_published(&puppet), 2);
	complete(0, 0);
	complete(1, 0);
	expect_completion(0, 2, 0);
	expect_completion(1, 3, 0);
}

static void without_another_daemon_all_is_done_here(void **state)
{
	(void)state;
	submit_copies(ENTRIES);
	die();
	for (unsigned i = 0; i < ENTRIES; i++) {
		expect_completion(i, i, 0);
		assert_true(is_copied(i));
	}
	assert_int_equal(counters().recovered_here, ENTRIES);
}

/* Memory that is released while an operation on it waits to be repeated. */

static void with_released(bool source, bool returns)
{
	struct vdm_region *other;
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

	assert_int_equal(vdm_region_alloc(client, SIZE, &other), 0);

	char *address = vdm_region_address(other);

	vdm_prep_memcpy(sqe, source ? dest(0) : address, source ? address : memory, SIZE, 0);
	sqe->user_data = 100;
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_int_equal(puppet_published(&puppet), 1);
	if (!returns)
		puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
	assert_int_equal(vdm_region_release(other), 0);
	if (returns)
		connection_renew(&client->connection, FOREVER);
	notice();
	assert_int_equal(ring->connected, returns);
	expect_completion(0, 0, -EFAULT);
}

static void a_released_destination_is_not_touched(void **state)
{
	(void)state;
	with_released(false, false);
}

static void a_released_source_is_not_touched(void **state)
{
	(void)state;
	with_released(true, false);
}

static void nor_with_another_daemon(void **state)
{
	(void)state;
	with_released(false, true);
}

/* The addresses of a region that was released are those of a newer one, which the operation must
 * not touch. */
static void with_replaced(bool returns)
{
	struct vdm_region *other, *newer;
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);
	const int fd = memfd_create("newer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(vdm_region_alloc(client, SIZE, &other), 0);

	char *address = vdm_region_address(other);

	vdm_prep_memcpy(sqe, address, memory, SIZE, 0);
	sqe->user_data = 100;
	assert_int_equal(vdm_ring_submit(ring), 1);
	if (!returns)
		puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
	assert_int_equal(vdm_region_release(other), 0);
	assert_ptr_equal(mmap(address, SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0),
			 address);
	assert_int_equal(vdm_region_import(client, fd, address, SIZE, 0, &newer), 0);
	if (returns)
		connection_renew(&client->connection, FOREVER);
	notice();
	assert_int_equal(ring->connected, returns);
	expect_completion(0, 0, -EFAULT);
	assert_int_equal(address[0], 0);
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), address, memory, SIZE, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	if (returns)
		assert_int_equal(puppet_published(&puppet), 1); /* this one alone */
	else
		assert_int_equal(address[0], 'a');
	assert_int_equal(vdm_region_release(newer), 0);
	munmap(address, SIZE);
	close(fd);
}

static void a_newer_region_at_its_addresses_is_not_touched(void **state)
{
	(void)state;
	with_replaced(false);
}

static void nor_by_another_daemon(void **state)
{
	(void)state;
	with_replaced(true);
}

static void overlapping(unsigned published)
{
	vdm_prep_memmove(vdm_ring_get_sqe(ring), memory + 1, memory, SIZE, 0);
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory, memory + SIZE - 1, SIZE, 0);
	assert_int_equal(vdm_ring_submit(ring), 2);
	assert_int_equal(puppet_published(&puppet), published);
	/* side by side */
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory, memory + SIZE, SIZE, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_int_equal(puppet_published(&puppet), published + 1);
}

static void overlapping_ranges_are_moved_here(void **state)
{
	(void)state;
	overlapping(0);
	assert_int_equal(counters().local_outside, 2);
}

static void overlapping_ranges_go_to_the_daemon_without_recovery(void **state)
{
	(void)state;
	open_client(VDM_OPTION_NO_RECOVERY, 0);
	overlapping(2);
}

static void without_recovery_operations_fail(void **state)
{
	(void)state;
	open_client(VDM_OPTION_NO_RECOVERY, 0);
	submit_copies(2);
	complete(0, 0);
	puppet_hang_up(&puppet);
	notice();
	expect_completion(0, 0, 0);
	expect_completion(1, 1, -ENOTCONN);
	assert_false(is_copied(1));
	prepare(2, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	expect_completion(2, 2, 0);
	assert_true(is_copied(2));
	assert_int_equal(puppet.connections, 1);
}

/* Taking back. */

static void what_was_taken_back_is_not_repeated(void **state)
{
	(void)state;
	submit_copies(2);
	assert_true(ring_take_back(ring, true));
	expect_completion(1, 1, 0);
	memset(dest(1), 0, SIZE); /* the caller's again */
	die_and_return();
	assert_int_equal(puppet_published(&puppet), 1);
	expect_given(0, 0, 0);
	assert_int_equal(ring->taken_back, 0);
	assert_int_equal(ring->spare_count, ENTRIES);
	assert_true(ring_take_back(ring, true)); /* from the new daemon */
	expect_completion(0, 0, 0);
	die();
	assert_int_equal(dest(1)[0], 0);
	/* every place is of use again, and has no deaths */
	for (unsigned i = 0; i < ring_indexes(ring); i++)
		assert_int_equal(ring->pending[i].deaths, 0);
	submit_copies(ENTRIES);
	for (unsigned i = 0; i < ENTRIES; i++)
		expect_completion(i, 2 + i, 0);
}

/* The state that ring_take_back() leaves when both sides have seen each other. */
static void contest(void)
{
	submit_copies(1);
	puppet_claim(&puppet, puppet.first + 1);
	ring->pending[puppet_descriptor(&puppet, puppet.first)->user_data].state =
		PENDING_CONTESTED;
	ring->contested++;
}

static void a_contested_operation_is_repeated(void **state)
{
	(void)state;
	contest();
	die_and_return();
	assert_int_equal(ring->contested, 0);
	assert_int_equal(puppet_published(&puppet), 1);
	expect_given(0, 0, 0);
	complete(0, 0);
	expect_completion(0, 0, 0);
}

static void a_contested_operation_that_was_left_to_this_side_is_done(void **state)
{
	(void)state;
	contest();
	puppet_complete(&puppet, puppet.first, -ECANCELED, VDM_COMPLETION_TAKEN_BACK);
	/* another ring of the client is first to notice */
	change_daemon();
	notice();
	expect_completion(0, 0, 0);
	assert_true(is_copied(0));
	assert_int_equal(counters().repeated + counters().recovered_here, 0);
}

/* Daemons that do not serve. */

static void with_refusal(enum vdm_message_type type, int error)
{
	submit_copies(2);
	puppet_refuse(&puppet, type, error);
	puppet_hang_up(&puppet);
	notice();
	expect_completion(0, 0, 0);
	expect_completion(1, 1, 0);
	assert_true(is_copied(0) && is_copied(1));
	assert_string_equal(vdm_last_error(), PUPPET_REFUSAL);
	assert_int_equal(counters().refused, 1);
	submit_copies(1);
	expect_completion(0, 2, 0);
	/* the next daemon serves */
	puppet_refuse(&puppet, type, 0);
	puppet_hang_up(&puppet);
	ring->next_look_ms = 0;
	notice();
	while (!ring->connected || counters().offloaded < 3) {
		submit_copies(1);
		if (counters().offloaded >= 3) {
			puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
			complete(0, 0);
		}
		vdm_ring_cq_advance(ring, 1);
		notice();
		ring->next_look_ms = 0;
	}
	assert_int_equal(counters().failed, 0);
}

static void a_ring_is_refused(void **state)
{
	(void)state;
	with_refusal(VDM_MESSAGE_RING_CREATE, -EDQUOT);
}

/* The same daemon is asked again when this process has descriptors, or memory. */
static void a_shortage_is_no_refusal(void **state)
{
	(void)state;
	submit_copies(1);
	puppet_refuse(&puppet, VDM_MESSAGE_RING_CREATE, -EMFILE);
	change_daemon();
	notice();
	assert_false(ring->connected);
	expect_completion(0, 0, 0);
	puppet_refuse(&puppet, VDM_MESSAGE_RING_CREATE, 0);
	ring->next_look_ms = 0;
	submit_copies(1);
	assert_true(ring->connected);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	complete(0, 0);
	expect_completion(0, 1, 0);
	assert_int_equal(counters().refused, 0);
}

static void another_version_is_spoken(void **state)
{
	(void)state;
	with_refusal(VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
}

static void a_feature_is_missing(void **state)
{
	(void)state;
	with_refusal(VDM_MESSAGE_HELLO, -EOPNOTSUPP);
}

static void there_are_too_many_sessions(void **state)
{
	(void)state;
	with_refusal(VDM_MESSAGE_HELLO, -EDQUOT);
}

static void a_region_is_refused(void **state)
{
	(void)state;
	submit_copies(2);
	puppet_refuse(&puppet, VDM_MESSAGE_REGION_ADD, -EDQUOT);
	die_and_return();
	expect_completion(0, 0, 0);
	expect_completion(1, 1, 0);
	assert_true(is_copied(0) && is_copied(1));
	assert_string_equal(vdm_last_error(), PUPPET_REFUSAL);
	assert_int_equal(counters().refused, 1);
	puppet_refuse(&puppet, VDM_MESSAGE_REGION_ADD, 0);
	change_daemon();
	notice();
	submit_copies(1); /* comes back with this */
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 3);
	assert_int_equal(puppet_published(&puppet), 1);
	complete(0, 0);
	expect_completion(0, 2, 0);
	assert_int_equal(counters().failed, 0);
}

/* No wait hears of the daemon's end, and the ring knows no region of the next one, which another
 * thread has met. */
static void with_nothing_outstanding(bool taken_back)
{
	submit_copies(1);
	if (taken_back)
		assert_true(ring_take_back(ring, true));
	else
		complete(0, 0);
	expect_completion(0, 0, 0);
	change_daemon();
	for (uint32_t n = 1; counters().reconnects == 0; n++) {
		submit_copies(1);
		if (counters().reconnects == 0)
			expect_completion(0, n, 0);
	}
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	assert_int_equal(puppet_published(&puppet), 1);
	assert_int_equal(ring->taken_back, 0);
}

static void a_ring_with_nothing_in_flight_comes_back(void **state)
{
	(void)state;
	with_nothing_outstanding(false);
}

static void and_one_from_which_all_was_taken_back(void **state)
{
	(void)state;
	with_nothing_outstanding(true);
}

/* A mover of threads asks whether the daemon would be given an operation. */
static void what_only_asks_comes_back(void **state)
{
	(void)state;
	change_daemon();
	while (!ring_offloads(ring, dest(0), memory, SIZE))
		assert_int_equal(counters().local_bytes, 0);
	assert_int_equal(counters().reconnects, 1);
}

/* Use the answers of a daemon that answers again. */
static void expect_late_answers(void)
{
	puppet_speak(&puppet);
	while (!ring->connected) {
		ring_come_back(ring);
		sched_yield();
	}
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	submit_copies(1);
	assert_int_equal(puppet_published(&puppet), 1);
	complete(0, 0);
}

static void a_wait_does_not_wait_for_ever(void **state)
{
	struct vdm_cqe *cqe;

	(void)state;
	open_client(0, 20);
	submit_copies(1);
	puppet_silence(&puppet, false);
	puppet_hang_up(&puppet);
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	assert_true(is_copied(0));
	assert_int_equal(ring->patience_ms, 0);
	expect_completion(0, 0, 0);
	expect_late_answers();
	expect_completion(0, 1, 0);
}

/* A wait may come back more than once: behind what concerns a file, for instance. */
static void patience_is_used_up(void **state)
{
	(void)state;
	puppet_silence(&puppet, false);
	puppet_hang_up(&puppet);
	ring_take_signals(ring);
	ring->patience_ms = 20;
	ring_come_back(ring);
	assert_int_equal(ring->patience_ms, 0);
}

static void a_peek_does_not_wait(void **state)
{
	(void)state;
	submit_copies(1);
	puppet_silence(&puppet, false);
	puppet_hang_up(&puppet);
	notice();
	expect_completion(0, 0, 0);
	expect_late_answers();
	expect_completion(0, 1, 0);
}

static void a_peek_does_not_wait_for_another_threads_conversation(void **state)
{
	(void)state;
	submit_copies(1);
	puppet_hang_up(&puppet);
	pthread_mutex_lock(&client->connection.talk);
	notice();
	pthread_mutex_unlock(&client->connection.talk);
	expect_completion(0, 0, 0);
	assert_true(is_copied(0));
}

static void a_daemon_that_ends_before_it_answers_is_followed_by_another(void **state)
{
	(void)state;
	submit_copies(1);
	pthread_mutex_lock(&puppet.lock);
	puppet.breaks_off = 2;
	pthread_mutex_unlock(&puppet.lock);
	puppet_hang_up(&puppet);
	ring->patience_ms = FOREVER;
	notice();
	assert_true(ring->connected);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	expect_given(0, 0, 0);
	complete(0, 0);
	expect_completion(0, 0, 0);
	assert_int_equal(counters().recovered_here, 0);
}

/* A wait does not overrun its timeout for that either. */
static void a_wait_waits_for_another_threads_conversation_for_its_time(void **state)
{
	const struct timespec timeout = {.tv_nsec = 20000000};
	struct vdm_cqe *cqe;

	(void)state;
	submit_copies(1);
	puppet_hang_up(&puppet);
	pthread_mutex_lock(&client->connection.talk);
	assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &timeout), 0);
	assert_int_equal(ring->patience_ms, 0);
	pthread_mutex_unlock(&client->connection.talk);
	expect_completion(0, 0, 0);
	assert_true(is_copied(0));
}

/* How often a test copies before it expects that the ring has noticed something. */
#define SOON 64

/* The daemon has gone, and there is no other. */
static void hang_up_for_good(void)
{
	puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
}

static void waits_of_no_time_notice_the_hangup(void **state)
{
	const struct timespec no_time = {0};
	struct vdm_cqe *cqe;
	int result = -ETIME;

	(void)state;
	submit_copies(1);
	hang_up_for_good();
	for (unsigned i = 0; i < SOON && result == -ETIME; i++)
		result = vdm_ring_wait_cqes(ring, &cqe, 1, &no_time);
	assert_int_equal(result, 0);
	expect_completion(0, 0, 0);
}

static void so_do_peeks_for_more_than_there_is(void **state)
{
	struct vdm_cqe *cqes[2];
	unsigned count = 0;

	(void)state;
	submit_copies(2);
	complete(0, 0);
	hang_up_for_good();
	for (unsigned i = 0; i < SOON && count < 2; i++)
		count = vdm_ring_peek_batch(ring, cqes, 2);
	assert_int_equal(count, 2);
	expect_completion(0, 0, 0);
	expect_completion(1, 1, 0);
}

/* The operations of a ring run here while its client has another daemon, whose numbers the ring
 * does not know. */
static void a_ring_whose_client_has_met_another_daemon_follows(void **state)
{
	struct vdm_cqe *cqe;
	unsigned copies = 0;

	(void)state;
	change_daemon();
	while (ring_in_flight(ring) == 0 && copies++ < SOON) {
		submit_copies(1);
		if (vdm_ring_peek_cqe(ring, &cqe) == 0)
			vdm_ring_cqe_seen(ring, cqe);
	}
	assert_int_equal(ring->connection, client->connection.number);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	complete(0, 0);
	expect_completion(0, copies - 1, 0);
}

static void so_does_one_whose_waits_take_everything_back(void **state)
{
	struct vdm_cqe *cqe;

	(void)state;
	ring->spin_us = 50;
	puppet_hang_up(&puppet);
	for (unsigned i = 0; i < SOON && ring->connection == 1; i++) {
		ring->eager_waits = 1;
		submit_copies(1);
		assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
		vdm_ring_cqe_seen(ring, cqe);
	}
	assert_int_equal(ring->connection, 2);
}

/* The ring alone has hung up: the daemon keeps the session. */
static void a_ring_that_alone_has_hung_up_is_replaced(void **state)
{
	(void)state;
	submit_copies(1);
	shutdown(puppet.signal_fd, SHUT_RDWR);
	notice();
	assert_true(ring->connected);
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_RING_DESTROY), 1);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	assert_int_equal(puppet_published(&puppet), 1);
	complete(0, 0);
	expect_completion(0, 0, 0);
}

/* The porter's end of the session lives on, and says nothing. */
static void a_porter_that_outlasts_its_daemon_is_not_asked(void **state)
{
	(void)state;
	submit_copies(1);
	pthread_mutex_lock(&puppet.lock);
	puppet.silent = true;
	close(puppet.lease);
	puppet.lease = -1;
	shutdown(puppet.signal_fd, SHUT_RDWR);
	pthread_mutex_unlock(&puppet.lock);
	notice();
	expect_completion(0, 0, 0);
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_RING_CREATE), 1);
}

/* Returns how many daemons have ended at the position that is not valid. */
static unsigned wraps_at(uint32_t first)
{
	unsigned invalid = 0;

	puppet.first = first;
	open_client(0, FOREVER);
	for (uint32_t n = 0; n < 8; n++) {
		prepare(0, 0);
		prepare(1, 0);
		assert_int_equal(vdm_ring_submit(ring), 2);
		complete(puppet.completed - puppet.first, 0);
		expect_completion(0, first + 2 * n, 0);
		invalid += !vdm_ring_first_sequence_valid(ring->sq_position);
		die_and_return();
		assert_true(vdm_ring_first_sequence_valid(puppet.first));
		assert_int_equal(puppet_published(&puppet), 1);
		expect_given(0, 1, 0);
		complete(0, 0);
		expect_completion(1, first + 2 * n + 1, 0);
		expect_no_completion();
	}
	return invalid;
}

static void the_position_wraps(void **state)
{
	(void)state;
	assert_int_equal(wraps_at(UINT32_MAX - 6), 0);
}

static void the_position_is_not_valid(void **state)
{
	(void)state;
	assert_int_equal(wraps_at(UINT32_MAX - 8), 1);
}

/* Descriptors. */

static bool is_readable(int fd)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	return poll(&event, 1, 0) == 1;
}

static void await_readable(int fd)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&event, 1, -1), 1);
}

static void the_descriptor_outlives_three_daemons(void **state)
{
	const int fd = vdm_ring_eventfd(ring);

	(void)state;
	assert_true(fd >= 0);
	for (unsigned deaths = 1; deaths <= 3; deaths++) {
		submit_copies(1);
		change_daemon();
		await_readable(fd);
		expect_no_completion();
		assert_false(is_readable(fd));
		puppet_await(&puppet, VDM_MESSAGE_RING_START, deaths + 1);
		assert_int_equal(atomic_load(&ring->client_line->wanted), ring->cq_position + 1);
		assert_int_not_equal(atomic_load(&ring->client_line->arm), 0);
		assert_false(is_readable(fd));
		complete(0, 0);
		await_readable(fd);
		expect_completion(0, deaths - 1, 0);
		expect_no_completion();
		assert_false(is_readable(fd));
	}
	/* nothing in flight, and no other daemon */
	puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
	await_readable(fd);
	expect_no_completion();
	assert_false(is_readable(fd));
	submit_copies(1);
	await_readable(fd);
	expect_completion(0, 3, 0);
	expect_no_completion();
	assert_false(is_readable(fd));
	assert_int_equal(vdm_ring_eventfd(ring), fd);
}

static void the_descriptor_tells_of_what_comes_from_the_next_daemon(void **state)
{
	const int fd = vdm_ring_eventfd(ring);

	(void)state;
	expect_no_completion();
	change_daemon();
	await_readable(fd);
	expect_no_completion();
	submit_copies(1);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	assert_int_equal(atomic_load(&ring->client_line->wanted), ring->cq_position + 1);
	assert_int_not_equal(atomic_load(&ring->client_line->arm), 0);
	complete(0, 0);
	await_readable(fd);
	expect_completion(0, 0, 0);
}

/* A thread may be sleeping for the hang-up that another one, of a mover, has found. */
static void the_descriptor_tells_of_a_hangup_that_was_found(void **state)
{
	const int fd = vdm_ring_eventfd(ring);

	(void)state;
	submit_copies(1);
	expect_no_completion(); /* which arms it */
	puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
	while (ring->connected)
		ring_poll(ring);
	await_readable(fd);
	expect_completion(0, 0, 0);
}

static void the_descriptor_tells_of_what_was_recovered_here(void **state)
{
	const int fd = vdm_ring_eventfd(ring);

	(void)state;
	submit_chain();
	complete(0, -EFAULT);
	puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
	await_readable(fd);
	expect_completion(0, 0, -EFAULT);
	expect_completion(1, 1, -ECANCELED);
	expect_completion(2, 2, -ECANCELED);
	expect_completion(3, 3, 0);
	expect_no_completion();
	assert_false(is_readable(fd));
}

/* A child has copies of the ring's descriptors, which keep them open. */
static void a_child_disturbs_nothing(void **state)
{
	const int fd = vdm_ring_eventfd(ring);
	int ends[2], status;
	char byte;

	(void)state;
	submit_copies(1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);

	pid_t child = fork();

	if (child == 0) {
		struct vdm_cqe *cqe;

		/* the puppet's ends: a daemon would be another process */
		close(puppet.signal_fd);
		close(puppet.lease);
		close(puppet.socket);
		close(ends[1]);

		bool refused = write(ends[0], "", 1) == 1 && read(ends[0], &byte, 1) == 0 &&
			       vdm_ring_wait_cqe(ring, &cqe) == -EOWNERDEAD &&
			       vdm_ring_submit(ring) == -EOWNERDEAD;

		vdm_ring_close(ring);
		vdm_region_release(region);
		vdm_client_close(client);
		_exit(!refused);
	}
	close(ends[0]);
	assert_int_equal(read(ends[1], &byte, 1), 1);
	for (unsigned deaths = 1; deaths <= 3; deaths++) {
		change_daemon();
		await_readable(fd);
		if (deaths < 2)
			expect_no_completion();
		else if (deaths == 2)
			expect_completion(0, 0, 0);
		expect_no_completion();
		assert_false(is_readable(fd));
		submit_copies(deaths == 2);
		if (deaths == 2)
			puppet_await(&puppet, VDM_MESSAGE_RING_START, 3);
	}
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 4);
	complete(0, 0);
	await_readable(fd);
	expect_completion(0, 1, 0);
}

/* Threads. */

static _Atomic pid_t thread_id;

static void *wait_for_one(void *unused)
{
	struct vdm_cqe *cqe;

	(void)unused;
	thread_id = (pid_t)syscall(SYS_gettid);
	vdm_ring_wait_cqe(ring, &cqe);
	return NULL;
}

static void a_cancelled_wait_leaves_no_patience(void **state)
{
	pthread_t thread;

	(void)state;
	submit_copies(1);
	thread_id = 0;
	assert_int_equal(pthread_create(&thread, NULL, wait_for_one, NULL), 0);
	while (thread_id == 0 || atomic_load(&ring->client_line->arm) == 0)
		sched_yield();
	await_sleep(thread_id, &never);
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(ring->patience_ms, 0);
	/* so that no later look waits either */
	puppet_silence(&puppet, false);
	puppet_hang_up(&puppet);
	notice();
	expect_completion(0, 0, 0);
}

/* A completion and the end of the daemon have come together, and another caller wants the next. */
static void a_wait_is_patient_with_what_an_earlier_one_has_put_back(void **state)
{
	pthread_t thread;

	(void)state;
	submit_copies(2);
	complete(0, 0);
	puppet_silence(&puppet, false);
	puppet_hang_up(&puppet);
	ring_take_signals(ring);
	expect_completion(0, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_one, NULL), 0);
	puppet_await(&puppet, VDM_MESSAGE_HELLO, 2);
	poll(NULL, 0, IMPATIENT_MS);
	assert_int_equal(counters().recovered_here, 0);
	puppet_speak(&puppet);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	while (puppet_published(&puppet) == 0)
		sched_yield();
	complete(0, 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	expect_completion(1, 1, 0);
	expect_no_completion();
	assert_int_equal(counters().repeated, 1);
}

/* The daemon is ending: its ring and its socket have hung up, and the lease has not yet. */
static void a_wait_is_patient_with_a_daemon_that_lets_go(void **state)
{
	pthread_t thread;

	(void)state;
	submit_copies(1);
	puppet_drop_socket(&puppet);
	shutdown(puppet.signal_fd, SHUT_RDWR);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_one, NULL), 0);
	poll(NULL, 0, IMPATIENT_MS);
	assert_int_equal(counters().recovered_here, 0);
	pthread_mutex_lock(&puppet.lock);
	close(puppet.lease);
	puppet.lease = -1;
	pthread_mutex_unlock(&puppet.lock);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	while (puppet_published(&puppet) == 0)
		sched_yield();
	complete(0, 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	expect_completion(0, 0, 0);
	assert_int_equal(counters().repeated, 1);
}

static void *release_region(void *unused)
{
	(void)unused;
	thread_id = (pid_t)syscall(SYS_gettid);
	vdm_region_release(region);
	return NULL;
}

static void a_region_is_removed_by_the_number_that_it_has_then(void **state)
{
	struct connection *c = &client->connection;
	pthread_t thread;

	(void)state;
	thread_id = 0;
	pthread_mutex_lock(&c->talk);
	assert_int_equal(pthread_create(&thread, NULL, release_region, NULL), 0);
	while (thread_id == 0)
		sched_yield();
	await_sleep(thread_id, &never);
	puppet_hang_up(&puppet);
	connection_reopen(c, FOREVER);
	assert_int_equal(puppet.regions, 2);
	pthread_mutex_unlock(&c->talk);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(puppet.removed, 2);
	region = NULL;
}

static void a_future_outlives_its_daemons(void **state)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = puppet.path,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .offload_threshold = 1,
					    .entries = ENTRIES};
	struct data_mover_daemon *mover = data_mover_daemon_new(&options);
	struct runtime *runtime = runtime_new();

	(void)state;
	assert_non_null(mover);
	client = data_mover_daemon_get_client(mover);
	assert_int_equal(vdm_region_alloc(client, 2 * ENTRIES * SIZE, &region), 0);
	memory = vdm_region_address(region);
	memset(memory, 'a', SIZE);

	struct vdm_operation_future future =
		vdm_memcpy(data_mover_daemon_get_vdm(mover), dest(0), memory, SIZE, 0);

	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&future), NULL), FUTURE_STATE_RUNNING);
	for (unsigned deaths = 1; deaths <= 2; deaths++) {
		puppet_await(&puppet, VDM_MESSAGE_RING_START, deaths);
		assert_int_equal(puppet_published(&puppet), 1);
		change_daemon();
		while (counters().repeated + counters().recovered_here < deaths)
			future_poll(FUTURE_AS_RUNNABLE(&future), NULL);
	}
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&future));
	assert_int_equal(FUTURE_OUTPUT(&future)->result, VDM_SUCCESS);
	assert_true(is_copied(0));
	runtime_delete(runtime);
	vdm_region_release(region);
	data_mover_daemon_delete(mover);
	puppet_stop(&puppet);
}

/* A flush goes through one ring of a mover, and a copy that it has to wait for through the other
 * one. */
static void a_flush_waits_for_what_is_to_be_repeated(void **state)
{
	(void)state;
	setenv("VDM_SOCKET", puppet.path, 1);

	struct data_mover_threads *mover =
		vdm_miniasync_threads_new(1, ENTRIES, FUTURE_NOTIFIER_NONE);
	const struct mover *base = (struct mover *)mover;

	assert_non_null(mover);
	client = vdm_client_default();
	assert_int_equal(vdm_region_alloc(client, 2 * ENTRIES * SIZE, &region), 0);
	memory = vdm_region_address(region);
	base->ring[1]->threshold = 1;

	struct vdm *vdm = data_mover_threads_get_vdm(mover);
	struct vdm_operation_future copy = vdm_memcpy(vdm, dest(0), memory, SIZE, 0);
	struct vdm_operation_future flush = vdm_flush(vdm, dest(0), SIZE, 0);

	future_poll(FUTURE_AS_RUNNABLE(&copy), NULL);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 1);
	assert_int_equal(puppet_published(&puppet), 1);
	change_daemon();
	while (counters().repeated < 1)
		future_poll(FUTURE_AS_RUNNABLE(&flush), NULL);
	assert_int_equal(base->ring[0]->got, 0);
	puppet_await(&puppet, VDM_MESSAGE_RING_START, 2);
	complete(0, 0);
	FUTURE_BUSY_POLL(&copy);
	FUTURE_BUSY_POLL(&flush);
	assert_int_equal(base->ring[0]->got, 1);
	data_mover_threads_delete(mover);
	vdm_region_release(region);
	puppet_stop(&puppet);
}

/* Another puppet plays the filer of the first one. */

static struct puppet_daemon filer;
static struct vdm_region *file_region;
static char *file_memory;

static int set_up_filer(void **state)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = filer.path,
					    .offload_threshold = 1,
					    .answer_timeout_ms = FOREVER};
	FILE *file = tmpfile();
	struct vdm_client *of_filer;

	start_puppet(state);
	puppet_start(&filer);
	open_client(0, FOREVER);
	assert_int_equal(vdm_client_open(&options, &of_filer), 0);
	atomic_store(&client->filer, of_filer);
	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), (off_t)(ENTRIES * SIZE)), 0);
	assert_int_equal(vdm_region_open_file(client, fileno(file), 0, ENTRIES * SIZE, 0,
					      &file_region),
			 0);
	file_memory = vdm_region_address(file_region);
	fclose(file);
	return 0;
}

static int tear_down_filer(void **state)
{
	vdm_ring_close(ring);
	ring = NULL;
	vdm_region_release(file_region);
	tear_down(state);
	puppet_stop(&filer);
	return 0;
}

static void submit_to_file_without_patience(unsigned i, const char *from)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

	vdm_prep_memcpy(sqe, file_memory + i * SIZE, from, SIZE - i, 0);
	sqe->user_data = 100 + i;
	ring->next_filer_ms = 0;
	assert_int_equal(vdm_ring_submit(ring), 1);
}

static void submit_to_file(unsigned i, const char *from)
{
	ring->patience_ms = FOREVER; /* the puppet's answer may take long */
	submit_to_file_without_patience(i, from);
	ring->patience_ms = 0;
}

static void what_a_lost_lane_had_completed_is_reported(void **state)
{
	(void)state;
	submit_to_file(0, memory);
	submit_to_file(1, memory);
	puppet_await(&filer, VDM_MESSAGE_RING_START, 1);
	assert_int_equal(puppet_published(&filer), 2);
	puppet_complete(&filer, filer.first, 0, 0);
	puppet_hang_up(&filer);
	ring_take_signals(ring);
	connection_renew(&client_filer(client)->connection, FOREVER); /* a submit is not patient */
	submit_to_file(2, memory); /* in another lane, before a look for completions */
	puppet_await(&filer, VDM_MESSAGE_RING_START, 2);
	assert_int_equal(puppet_published(&filer), 2);
	expect_completion(0, 0, 0);
	puppet_complete(&filer, filer.first, 0, 0);
	puppet_complete(&filer, filer.first + 1, 0, 0);
	expect_completion(1, 1, 0);
	expect_completion(2, 2, 0);
}

static void a_submit_to_a_file_does_not_wait_for_another_threads_conversation(void **state)
{
	struct vdm_cqe *cqe;

	(void)state;
	pthread_mutex_lock(&client->connection.talk);
	submit_to_file_without_patience(0, memory);
	pthread_mutex_unlock(&client->connection.talk);
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	expect_completion(0, 0, 0);
	assert_int_equal(counters().file_offloaded, 0);
	submit_to_file(1, memory);
	puppet_await(&filer, VDM_MESSAGE_RING_START, 1);
	assert_int_equal(puppet_published(&filer), 1);
	puppet_complete(&filer, filer.first, 0, 0);
	expect_completion(1, 1, 0);
}

static void released_memory_is_not_touched_in_the_file_lane(void **state)
{
	struct vdm_region *other;
	struct vdm_cqe *cqe;

	(void)state;
	assert_int_equal(vdm_region_alloc(client, SIZE, &other), 0);
	submit_to_file(0, vdm_region_address(other));
	submit_to_file(1, memory);
	puppet_await(&filer, VDM_MESSAGE_RING_START, 1);
	assert_int_equal(puppet_published(&filer), 2);
	puppet_refuse(&filer, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&filer);
	assert_int_equal(vdm_region_release(other), 0);
	notice();
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	expect_completion(0, 0, -EFAULT);
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	expect_completion(1, 1, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_ALONE(name) cmocka_unit_test_setup_teardown(name, start_puppet, tear_down)
#define TEST_FILER(name) cmocka_unit_test_setup_teardown(name, set_up_filer, tear_down_filer)
		TEST(what_is_in_flight_is_repeated_in_its_order),
		TEST(what_was_not_yet_published_comes_after_it),
		TEST(what_is_complete_is_not_repeated),
		TEST(a_chain_is_repeated_as_one),
		TEST(the_rest_of_a_chain_that_failed_is_cancelled),
		TEST(the_same_if_the_failure_has_been_seen),
		TEST(what_two_daemons_have_not_survived_is_done_here),
		TEST(without_another_daemon_all_is_done_here),
		TEST(a_released_destination_is_not_touched),
		TEST(a_released_source_is_not_touched),
		TEST(nor_with_another_daemon),
		TEST(a_newer_region_at_its_addresses_is_not_touched),
		TEST(nor_by_another_daemon),
		TEST(overlapping_ranges_are_moved_here),
		TEST_ALONE(overlapping_ranges_go_to_the_daemon_without_recovery),
		TEST_ALONE(without_recovery_operations_fail),
		TEST(what_was_taken_back_is_not_repeated),
		TEST(a_contested_operation_is_repeated),
		TEST(a_contested_operation_that_was_left_to_this_side_is_done),
		TEST(a_ring_is_refused),
		TEST(a_shortage_is_no_refusal),
		TEST(another_version_is_spoken),
		TEST(a_feature_is_missing),
		TEST(there_are_too_many_sessions),
		TEST(a_region_is_refused),
		TEST(a_ring_with_nothing_in_flight_comes_back),
		TEST(and_one_from_which_all_was_taken_back),
		TEST(what_only_asks_comes_back),
		TEST_ALONE(a_wait_does_not_wait_for_ever),
		TEST(patience_is_used_up),
		TEST(a_peek_does_not_wait),
		TEST(a_peek_does_not_wait_for_another_threads_conversation),
		TEST(a_daemon_that_ends_before_it_answers_is_followed_by_another),
		TEST(a_wait_waits_for_another_threads_conversation_for_its_time),
		TEST(waits_of_no_time_notice_the_hangup),
		TEST(so_do_peeks_for_more_than_there_is),
		TEST(a_ring_whose_client_has_met_another_daemon_follows),
		TEST(so_does_one_whose_waits_take_everything_back),
		TEST(a_ring_that_alone_has_hung_up_is_replaced),
		TEST(a_porter_that_outlasts_its_daemon_is_not_asked),
		TEST_ALONE(the_position_wraps),
		TEST_ALONE(the_position_is_not_valid),
		TEST(the_descriptor_outlives_three_daemons),
		TEST(the_descriptor_tells_of_what_comes_from_the_next_daemon),
		TEST(the_descriptor_tells_of_a_hangup_that_was_found),
		TEST(the_descriptor_tells_of_what_was_recovered_here),
		TEST(a_child_disturbs_nothing),
		TEST(a_cancelled_wait_leaves_no_patience),
		TEST(a_wait_is_patient_with_what_an_earlier_one_has_put_back),
		TEST(a_wait_is_patient_with_a_daemon_that_lets_go),
		TEST(a_region_is_removed_by_the_number_that_it_has_then),
		TEST_FILER(what_a_lost_lane_had_completed_is_reported),
		TEST_FILER(a_submit_to_a_file_does_not_wait_for_another_threads_conversation),
		TEST_FILER(released_memory_is_not_touched_in_the_file_lane),
		cmocka_unit_test_setup_teardown(a_future_outlives_its_daemons, start_puppet, NULL),
		cmocka_unit_test_setup_teardown(a_flush_waits_for_what_is_to_be_repeated,
						start_puppet, NULL),
	};

	alarm(500); /* less than FOREVER */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
