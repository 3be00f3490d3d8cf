/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/subordinate.c: what it makes of libsubid's answers, which this program gives in its place,
 * and of a real /etc/subuid.
 */
#include "daemon/subordinate.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <shadow/subid.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

int __wrap_subid_get_uid_owners(uid_t uid, uid_t **owners);
int __real_subid_get_uid_owners(uid_t uid, uid_t **owners);
int __wrap_subid_get_uid_ranges(const char *owner, struct subid_range **ranges);
int __real_subid_get_uid_ranges(const char *owner, struct subid_range **ranges);

static struct {
	bool real;
	uid_t owners[3];
	int owner_count, error;
	int range_count;
	char asked[64]; /* whose ranges were asked for */
} subid;

int __wrap_subid_get_uid_owners(uid_t uid, uid_t **owners)
{
	if (subid.real)
		return __real_subid_get_uid_owners(uid, owners);
	errno = subid.error;
	if (subid.owner_count > 0) {
		*owners = malloc(sizeof subid.owners);
		memcpy(*owners, subid.owners, sizeof subid.owners);
	}
	return subid.owner_count;
}

int __wrap_subid_get_uid_ranges(const char *owner, struct subid_range **ranges)
{
	if (subid.real)
		return __real_subid_get_uid_ranges(owner, ranges);
	snprintf(subid.asked, sizeof subid.asked, "%s", owner);
	if (subid.range_count > 0) {
		*ranges = calloc((size_t)subid.range_count, sizeof **ranges);
		(*ranges)[0] = (struct subid_range){100000, 65536};
	}
	return subid.range_count;
}

static int set_up(void **state)
{
	(void)state;
	memset(&subid, 0, sizeof subid);
	return 0;
}

static struct subordinate found(uid_t uid)
{
	struct subordinate answer;

	assert_int_equal(subordinate_find(uid, &answer), 0);
	assert_int_equal(answer.uid, uid);
	return answer;
}

static void an_id_without_an_owner_counts_as_itself(void **state)
{
	const struct subordinate answer = found(1234);

	(void)state;
	assert_int_equal(answer.account, 1234);
	assert_false(answer.failed);
	assert_int_equal(answer.range_count, 0);
	assert_string_equal(subid.asked, "");
}

static void an_id_counts_as_its_owner(void **state)
{
	(void)state;
	subid.owner_count = 1;
	subid.owners[0] = 4000000;
	subid.range_count = 1;

	struct subordinate answer = found(100007);

	assert_int_equal(answer.account, 4000000);
	assert_string_equal(subid.asked, "4000000"); /* a user without a name */
	assert_int_equal(answer.range_count, 1);
	assert_int_equal(answer.ranges[0].start, 100000);
	free(answer.ranges);

	subid.owners[0] = 0;
	subid.range_count = -1;
	answer = found(100007);
	assert_int_equal(answer.account, 0);
	assert_string_equal(subid.asked, "root");
	assert_int_equal(answer.range_count, 0);
	assert_null(answer.ranges);
}

static void of_several_owners_the_lowest_counts(void **state)
{
	(void)state;
	subid.owner_count = 3;
	subid.owners[0] = 1003;
	subid.owners[1] = 1001;
	subid.owners[2] = 1002;
	subid.range_count = 1;
	assert_int_equal(found(100007).account, 1001);
	assert_string_equal(subid.asked, ""); /* ranges that overlap would not tell */
}

/* No file is no failure, and no room says nothing about the id. */
static void failures(void **state)
{
	struct subordinate answer;

	(void)state;
	subid.owner_count = -1;
	subid.error = ENOENT;
	assert_false(found(1234).failed);
	subid.error = EIO;
	assert_true(found(1234).failed);
	assert_int_equal(found(1234).account, 1234);
	subid.error = ENOMEM;
	assert_int_equal(subordinate_find(1234, &answer), -ENOMEM);
	subid.error = EMFILE;
	assert_int_equal(subordinate_find(1234, &answer), -EMFILE);
	subid.error = ENFILE;
	assert_int_equal(subordinate_find(1234, &answer), -EMFILE);
}

/* Have /etc/subuid be another file, for this process alone. */
static bool replace_subuid(const char *text)
{
	char path[] = "/tmp/vdmd-test-subuid.XXXXXX";
	int fd = mkstemp(path);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
		    unshare(CLONE_NEWNS) == 0 &&
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    mount(path, "/etc/subuid", NULL, MS_BIND, NULL) == 0;

	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	return done;
}

#define SKIPPED 77
#define LINES   "root:700000:1000\n4000000:800000:10\nroot:900000:5\n4000000:900000:5\n"

/* Returns which answer is wrong, SKIPPED, or 0. */
static int try_real_file(void)
{
	struct subordinate answer;

	if (!replace_subuid(LINES))
		return SKIPPED;
	subid.real = true;
	if (subordinate_find(700999, &answer) != 0 || answer.account != 0)
		return 1;
	if (answer.range_count != 2 || answer.ranges[0].start != 700000 ||
	    answer.ranges[0].count != 1000 || answer.ranges[1].start != 900000)
		return 2;
	free(answer.ranges);
	if (subordinate_find(701000, &answer) != 0 || answer.account != 701000 || answer.failed)
		return 3;
	if (subordinate_find(800009, &answer) != 0 || answer.account != 4000000 ||
	    answer.range_count != 2 || answer.ranges[0].start != 800000)
		return 4;
	free(answer.ranges);
	if (subordinate_find(900000, &answer) != 0 || answer.account != 0 || answer.ranges)
		return 5;
	return 0;
}

static void the_real_file_is_understood(void **state)
{
	int status;

	(void)state;
	if (getuid() != 0) {
		print_message("replacing /etc/subuid needs root\n");
		skip();
	}
	if (fork() == 0)
		_exit(try_real_file());
	assert_true(wait(&status) > 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIPPED) {
		print_message("/etc/subuid cannot be replaced here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_id_without_an_owner_counts_as_itself, set_up),
		cmocka_unit_test_setup(an_id_counts_as_its_owner, set_up),
		cmocka_unit_test_setup(of_several_owners_the_lowest_counts, set_up),
		cmocka_unit_test_setup(failures, set_up),
		cmocka_unit_test_setup(the_real_file_is_understood, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
