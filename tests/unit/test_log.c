/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/log.c: levels, the client that a message is about, and how many messages there may be. */
#include "daemon/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int own_stderr, file;
static char text[65536];

/* Have standard error go to a file. */
static int set_up(void **state)
{
	(void)state;
	own_stderr = dup(STDERR_FILENO);
	file = memfd_create("log", MFD_CLOEXEC);
	dup2(file, STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	log_open();
	log_set_level(LOG_INFO);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	dup2(own_stderr, STDERR_FILENO);
	close(own_stderr);
	close(file);
	return 0;
}

static const char *logged(void)
{
	ssize_t length = pread(file, text, sizeof text - 1, 0);

	text[length < 0 ? 0 : length] = '\0';
	return text;
}

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static unsigned lines(void)
{
	unsigned count = 0;

	for (const char *c = logged(); *c; c++)
		count += *c == '\n';
	return count;
}

static void messages_below_the_level_are_not_written(void **state)
{
	(void)state;
	log_message(LOG_DEBUG, NULL, "quiet");
	log_message(LOG_ERR, NULL, "loud %d", 7);
	log_message(LOG_INFO, NULL, "plain");
	assert_string_equal(logged(), "vdmd: error: loud 7\nvdmd: plain\n");
	log_set_level(LOG_DEBUG);
	log_message(LOG_DEBUG, NULL, "quiet");
	assert_int_equal(lines(), 3);
}

static void it_says_whom_it_is_about(void **state)
{
	const struct log_peer peer = {.pid = 12, .uid = 34, .command = "name"};

	(void)state;
	log_message(LOG_WARNING, &peer, "odd");
	assert_string_equal(logged(), "vdmd: warning: name (process 12, user 34): odd\n");
}

static void a_user_cannot_fill_the_log(void **state)
{
	struct log_limit limit = {.account = 1001}, other_limit = {.account = 1002};
	struct log_peer peer = {.limit = &limit, .uid = 1001, .command = "loud"};
	const struct log_peer other = {.limit = &other_limit, .uid = 1002, .command = "other"};

	(void)state;
	time_t begin = now_s();

	for (unsigned i = 0; i < 10000; i++) {
		peer.pid = (pid_t)i; /* a new process each time */
		log_limited(LOG_WARNING, &peer, "again");
	}
	/* ten in each interval of 30 seconds that this has seen, and a line about the others */
	assert_in_range(lines(), 1, 11 * ((now_s() - begin) / 30 + 2));
	log_limited(LOG_WARNING, &other, "once");
	assert_non_null(strstr(logged(), "other (process 0, user 1002): once\n"));
}

/* Clients of one account have one limit, whichever of its user ids they have. */
static void an_account_is_told_how_much_was_left_out(void **state)
{
	struct log_limit limit = {.account = 1001};
	struct log_peer peer = {.limit = &limit, .command = "loud"};

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		peer.uid = 100000 + i;
		log_limited(LOG_WARNING, &peer, "again");
	}
	assert_in_range(lines(), 10, 21);
	limit.interval--;
	log_limited(LOG_WARNING, &peer, "again");
	assert_non_null(strstr(logged(), " more messages about user 1001 were not logged"));
}

static void clients_without_an_account_share_a_limit(void **state)
{
	struct log_peer peer = {.command = "early"};

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		peer.uid = i;
		log_limited(LOG_WARNING, &peer, "again");
	}
	assert_in_range(lines(), 10, 21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages_below_the_level_are_not_written, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(it_says_whom_it_is_about, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_user_cannot_fill_the_log, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_account_is_told_how_much_was_left_out, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(clients_without_an_account_share_a_limit, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
