/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon that keeps silent, hangs up, or cannot be reached for a moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "client/client.h"
#include "client/ring.h"
#include "client/vdm_region.h"
#include "puppet_daemon.h"

#define SIZE       ((size_t)64 << 10)
#define LIMIT_MS   50
#define PATIENT_MS 60000 /* on a busy machine too */

static struct puppet_daemon puppet;
static struct puppet_client own;
static const _Atomic bool never = false;

/* sendmsg(2) fails so often with that error. */
static struct {
	int error;
	unsigned times;
} sending;

ssize_t __real_sendmsg(int socket, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int socket, const struct msghdr *message, int flags);

ssize_t __wrap_sendmsg(int socket, const struct msghdr *message, int flags)
{
	if (sending.times > 0) {
		sending.times--;
		errno = sending.error;
		return -1;
	}
	return __real_sendmsg(socket, message, flags);
}

static struct vdm_options options_for(uint32_t flags, unsigned answer_timeout_ms)
{
	return (struct vdm_options){.size = sizeof(struct vdm_options),
				    .socket = puppet.path,
				    .flags = flags,
				    .offload_threshold = 1,
				    .answer_timeout_ms = answer_timeout_ms,
				    .entries = 8};
}

static int start_puppet(void **state)
{
	(void)state;
	puppet_start(&puppet);
	return 0;
}

static int stop_puppet(void **state)
{
	(void)state;
	puppet_stop(&puppet);
	return 0;
}

static int set_up(void **state)
{
	start_puppet(state);
	puppet_client_open(&own, &puppet, PATIENT_MS, 4 * SIZE);
	return 0;
}

/* From now on no request is answered, and none waits for long. */
static void silence(void)
{
	puppet_silence(&puppet, false);
	own.client->options.answer_timeout_ms = LIMIT_MS;
}

static void break_silence(void)
{
	own.client->options.answer_timeout_ms = PATIENT_MS;
	puppet_speak(&puppet);
}

static int tear_down(void **state)
{
	break_silence();
	puppet_client_close(&own);
	return stop_puppet(state);
}

static bool connected(struct vdm_client *of)
{
	struct vdm_client_info info = {.size = sizeof info};

	assert_int_equal(vdm_client_info(of, &info), 0);
	return info.connected;
}

/* Letting go of what operations are in flight on takes as long as the daemon does. */

static _Atomic pid_t leaver;
static _Atomic bool has_left, daemon_let_go, left_too_early;

static void *leave(void *argument)
{
	void (*let_go)(void) = (void (*)(void))(uintptr_t)argument;

	leaver = (pid_t)syscall(SYS_gettid);
	let_go();
	left_too_early = !daemon_let_go;
	has_left = true;
	return NULL;
}

static void close_ring(void)
{
	vdm_ring_close(own.ring);
	own.ring = NULL;
}

static void release_region(void)
{
	vdm_region_release(own.region);
	own.region = NULL;
}

static void hang_up(void)
{
	puppet_hang_up(&puppet);
}

static void speak(void)
{
	break_silence();
}

/* `prove` is what the daemon does when it has let go, long after the limit of an answer has
 * passed. */
static void expect_waiting(void (*let_go)(void), enum vdm_message_type request, void (*prove)(void))
{
	pthread_t thread;

	leaver = 0;
	has_left = daemon_let_go = left_too_early = false;
	puppet_client_submit_copy(&own, SIZE);
	silence();
	assert_int_equal(pthread_create(&thread, NULL, leave, (void *)(uintptr_t)let_go), 0);
	puppet_await(&puppet, request, 1);
	for (unsigned i = 0; i < 4 && !has_left; i++)
		usleep(LIMIT_MS * 1000);
	assert_false(has_left);
	daemon_let_go = true;
	prove();
	pthread_join(thread, NULL);
	assert_false(left_too_early);
}

static void close_waits_for_a_silent_daemon(void **state)
{
	(void)state;
	expect_waiting(close_ring, VDM_MESSAGE_RING_DESTROY, speak);
}

static void close_waits_for_the_hangup(void **state)
{
	(void)state;
	expect_waiting(close_ring, VDM_MESSAGE_RING_DESTROY, hang_up);
}

static void release_waits_for_a_silent_daemon(void **state)
{
	(void)state;
	expect_waiting(release_region, VDM_MESSAGE_REGION_REMOVE, speak);
}

static void release_waits_for_the_hangup(void **state)
{
	(void)state;
	expect_waiting(release_region, VDM_MESSAGE_REGION_REMOVE, hang_up);
}

/* Also where the daemon was given up for another reason before. */
static void release_waits_for_a_daemon_that_was_given_up(void **state)
{
	struct vdm_region *another;
	pthread_t thread;

	(void)state;
	leaver = 0;
	has_left = daemon_let_go = left_too_early = false;
	puppet_client_submit_copy(&own, SIZE);
	silence();
	assert_int_equal(vdm_region_alloc(own.client, SIZE, &another), 0); /* without the daemon */
	assert_false(connected(own.client));
	assert_int_equal(pthread_create(&thread, NULL, leave, (void *)(uintptr_t)release_region),
			 0);
	while (leaver == 0)
		usleep(1000);
	await_sleep(leaver, &has_left);
	assert_false(has_left);
	daemon_let_go = true;
	hang_up();
	pthread_join(thread, NULL);
	assert_false(left_too_early);
	vdm_region_release(another);
}

/* The daemon's other process has died, and its engine still moves bytes. */
static void the_end_of_the_socket_alone_proves_nothing(void **state)
{
	pthread_t thread;

	(void)state;
	leaver = 0;
	has_left = daemon_let_go = left_too_early = false;
	puppet_client_submit_copy(&own, SIZE);
	puppet_drop_socket(&puppet);
	assert_int_equal(pthread_create(&thread, NULL, leave, (void *)(uintptr_t)release_region),
			 0);
	for (unsigned i = 0; i < 4 && !has_left; i++)
		usleep(LIMIT_MS * 1000);
	assert_false(has_left);
	assert_false(connected(own.client));
	daemon_let_go = true;
	hang_up();
	pthread_join(thread, NULL);
	assert_false(left_too_early);
}

static void without_operations_a_silent_daemon_is_waited_for_once(void **state)
{
	(void)state;
	silence();
	close_ring();     /* returns */
	release_region(); /* and so does this */
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_RING_DESTROY), 1);
}

/* The answer that is owed is still to come when the next request is made. (The puppet reads one at
 * a time.) */
static void *speak_at_region_add(void *unused)
{
	(void)unused;
	await_sleep(getpid(), &never);
	puppet_speak(&puppet);
	return NULL;
}

static void an_answer_that_comes_late_is_not_taken_for_another(void **state)
{
	struct vdm_region *another;

	(void)state;
	silence();
	close_ring();
	own.client->options.answer_timeout_ms = PATIENT_MS;

	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, speak_at_region_add, NULL), 0);
	assert_int_equal(vdm_region_alloc(own.client, SIZE, &another), 0);
	pthread_join(thread, NULL);
	assert_int_equal(another->id, 2);
	assert_true(connected(own.client));
	vdm_region_release(another);
}

/* Opening. */

static void opening_does_not_wait_for_a_greeting_for_long_but_finds_it_later(void **state)
{
	const struct vdm_options options = options_for(0, LIMIT_MS);
	struct vdm_client *early;
	struct vdm_ring *ring;

	(void)state;
	puppet_silence(&puppet, false);
	assert_int_equal(vdm_client_open(&options, &early), 0);
	assert_false(connected(early));
	/* and nothing waits for it a second time */
	assert_int_equal(vdm_ring_open(early, NULL, &ring), 0);
	assert_false(ring->connected);
	vdm_ring_close(ring);
	early->options.answer_timeout_ms = PATIENT_MS;
	puppet_speak(&puppet);
	while (!connected(early))
		usleep(1000);
	assert_int_equal(puppet.connections, 1);
	assert_int_equal(vdm_ring_open(early, NULL, &ring), 0);
	assert_true(ring->connected);
	vdm_ring_close(ring);
	vdm_client_close(early);
}

/* Another thread's conversation may last. */
static void information_is_not_waited_for(void **state)
{
	struct vdm_client_info info = {.size = sizeof info};

	(void)state;
	pthread_mutex_lock(&own.client->connection.talk);
	assert_int_equal(vdm_client_info(own.client, &info), 0);
	pthread_mutex_unlock(&own.client->connection.talk);
	assert_true(info.connected);
	assert_int_equal(info.max_rings, own.client->connection.welcome.max_rings);
}

static void a_greeting_without_an_answer_is_followed_by_another(void **state)
{
	const struct vdm_options options = options_for(0, LIMIT_MS);
	struct vdm_client *early;

	(void)state;
	puppet_silence(&puppet, false);
	assert_int_equal(vdm_client_open(&options, &early), 0);
	assert_false(connected(early));
	assert_int_equal(early->connection.state, CONNECTION_GREETING);
	early->connection.greeting_ends = 0;
	connection_renew(&early->connection, LIMIT_MS);
	puppet_speak(&puppet);
	while (!connected(early))
		usleep(1000);
	assert_int_equal(puppet.connections, 2);
	vdm_client_close(early);
}

static void a_daemon_that_is_required_has_to_greet_in_time(void **state)
{
	const struct vdm_options options = options_for(VDM_OPTION_REQUIRE_DAEMON, LIMIT_MS);
	struct vdm_client *client = NULL;

	(void)state;
	puppet_silence(&puppet, false);
	assert_int_equal(vdm_client_open(&options, &client), -ETIMEDOUT);
	assert_non_null(strstr(vdm_last_error(), "50 ms"));
	assert_null(client);
}

static void on_alarm(int number)
{
	(void)number;
}

/* Of a profiler, for example: the limit must not begin anew at each. */
static void signals_do_not_prolong_the_wait_for_an_answer(void **state)
{
	const struct sigaction action = {.sa_handler = on_alarm},
			       standard = {.sa_handler = SIG_DFL};
	const struct itimerval often = {{0, 2000}, {0, 2000}}, none = {{0, 0}, {0, 0}};
	struct vdm_region *another;

	(void)state;
	silence();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	assert_int_equal(vdm_region_alloc(own.client, SIZE, &another), 0);
	setitimer(ITIMER_REAL, &none, NULL);
	sigaction(SIGALRM, &standard, NULL);
	assert_false(connected(own.client));
	vdm_region_release(another);
}

/* What the kernel has no memory for now. */

static void a_request_that_cannot_be_sent_fails_alone(void **state)
{
	static const int errors[] = {ENOBUFS, ENOMEM, ETOOMANYREFS};
	struct vdm_region *another = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		sending.error = errors[i];
		sending.times = 1;
		assert_int_equal(vdm_region_alloc(own.client, SIZE, &another), -errors[i]);
		assert_null(another);
		assert_true(connected(own.client));
	}
	assert_int_equal(vdm_region_alloc(own.client, SIZE, &another), 0);
	vdm_region_release(another);
}

static void letting_go_is_asked_for_until_it_can_be_sent(void **state)
{
	(void)state;
	sending.error = ENOBUFS;
	sending.times = 3;
	close_ring();
	sending.times = 3;
	release_region();
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_RING_DESTROY), 1);
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_REGION_REMOVE), 1);
	assert_true(connected(own.client));
}

/* The first connect(2) or greeting failed for a reason that passes. */
static void the_default_client_tries_again(void **state)
{
	(void)state;
	setenv("VDM_SOCKET", puppet.path, 1);
	sending.error = ENOBUFS;
	sending.times = 1;
	struct vdm_client *shared = vdm_client_default();

	assert_non_null(shared);
	assert_false(connected(shared));
	assert_ptr_equal(vdm_client_default(), shared);
	assert_true(connected(shared));
	unsetenv("VDM_SOCKET");
}

static uint64_t refused(struct vdm_client *client)
{
	struct vdm_client_counters counters = {.size = sizeof counters};

	assert_int_equal(vdm_client_counters(client, &counters), 0);
	return counters.refused;
}

/* Each thread is told why there is no connection, though it is not this one that has asked. */
static void a_refusal_is_believed_for_a_while(void **state)
{
	struct connection *c = &own.client->connection;

	(void)state;
	puppet_refuse(&puppet, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT);
	puppet_hang_up(&puppet);
	connection_renew(c, PATIENT_MS);
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_HELLO), 2);
	assert_string_equal(vdm_last_error(), PUPPET_REFUSAL);
	assert_true(c->refused_until > 0);
	c->refused_until = INT64_MAX;          /* however slow the machine is */
	vdm_region_alloc(own.client, 0, NULL); /* another failure */
	assert_string_not_equal(vdm_last_error(), PUPPET_REFUSAL);
	connection_renew(c, PATIENT_MS);
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_HELLO), 2);
	assert_string_equal(vdm_last_error(), PUPPET_REFUSAL);
	assert_int_equal(c->error, -EPROTONOSUPPORT);

	c->refused_until = 0; /* the while is over */
	connection_renew(c, PATIENT_MS);
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_HELLO), 3);
	assert_int_equal(refused(own.client), 1);

	c->refused_until = 0;
	puppet_refuse(&puppet, VDM_MESSAGE_HELLO, 0);
	connection_renew(c, PATIENT_MS);
	assert_true(connected(own.client));
	assert_int_equal(refused(own.client), 1);
}

/* pthread_cancel(3) of a thread that holds the locks of a conversation. */

static void *allocate(void *unused)
{
	struct vdm_region *another;

	(void)unused;
	assert_int_equal(vdm_region_alloc(own.client, SIZE, &another), 0);
	vdm_region_release(another);
	pthread_testcancel();
	return NULL;
}

static void a_cancelled_thread_ends_when_its_request_has_been_answered(void **state)
{
	pthread_t thread;
	void *ended;

	(void)state;
	puppet_silence(&puppet, false);
	assert_int_equal(pthread_create(&thread, NULL, allocate, NULL), 0);
	puppet_await(&puppet, VDM_MESSAGE_REGION_ADD, 2);
	assert_int_equal(pthread_cancel(thread), 0);
	puppet_speak(&puppet);
	pthread_join(thread, &ended);
	assert_ptr_equal(ended, PTHREAD_CANCELED);
	assert_true(connected(own.client)); /* this takes the lock */
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_REGION_REMOVE), 1);
}

static void *wait_for_it(void *thread)
{
	struct vdm_cqe *cqe;

	*(_Atomic pid_t *)thread = (pid_t)syscall(SYS_gettid);
	vdm_ring_wait_cqe(own.ring, &cqe);
	return NULL;
}

static void a_wait_that_is_cancelled_leaves_the_ring_usable(void **state)
{
	_Atomic pid_t waiting = 0;
	struct vdm_cqe *cqe;
	pthread_t thread;
	void *ended;

	(void)state;
#if defined(__SANITIZE_ADDRESS__)
	skip(); /* it takes the frames that a cancellation leaves for an overflow */
#endif
	own.ring->takes_back = false;
	puppet_client_submit_copy(&own, SIZE);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_it, &waiting), 0);
	while (waiting == 0)
		usleep(1000);
	await_sleep(waiting, &never);
	assert_int_equal(pthread_cancel(thread), 0);
	pthread_join(thread, &ended);
	assert_ptr_equal(ended, PTHREAD_CANCELED);
	puppet_complete(&puppet, 0, 0, 0);
	assert_int_equal(vdm_ring_wait_cqe(own.ring, &cqe), 0);
	assert_int_equal(cqe->result, 0);
	release_region(); /* finds no ring that has not left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)    cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define OPENING(name) cmocka_unit_test_setup_teardown(name, start_puppet, stop_puppet)
		TEST(close_waits_for_a_silent_daemon),
		TEST(close_waits_for_the_hangup),
		TEST(release_waits_for_a_silent_daemon),
		TEST(release_waits_for_the_hangup),
		TEST(release_waits_for_a_daemon_that_was_given_up),
		TEST(the_end_of_the_socket_alone_proves_nothing),
		TEST(without_operations_a_silent_daemon_is_waited_for_once),
		TEST(an_answer_that_comes_late_is_not_taken_for_another),
		OPENING(opening_does_not_wait_for_a_greeting_for_long_but_finds_it_later),
		TEST(information_is_not_waited_for),
		OPENING(a_greeting_without_an_answer_is_followed_by_another),
		OPENING(a_daemon_that_is_required_has_to_greet_in_time),
		TEST(signals_do_not_prolong_the_wait_for_an_answer),
		TEST(a_request_that_cannot_be_sent_fails_alone),
		TEST(letting_go_is_asked_for_until_it_can_be_sent),
		OPENING(the_default_client_tries_again),
		TEST(a_refusal_is_believed_for_a_while),
		TEST(a_cancelled_thread_ends_when_its_request_has_been_answered),
		TEST(a_wait_that_is_cancelled_leaves_the_ring_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
