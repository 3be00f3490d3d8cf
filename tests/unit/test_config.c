/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/config.c and daemon/ini_file.c: what is printed reads back, and mistakes are named by file
 * and line.
 */
#include "daemon/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/vdmd-test-config.XXXXXX";

static int read_text(const char *text, struct config *config, char error[CONFIG_ERROR_TEXT])
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	config_defaults(config);
	error[0] = '\0';
	return config_read(config, path, true, error);
}

static void defaults_hold_without_a_file(void **state)
{
	char error[CONFIG_ERROR_TEXT];
	struct config config;

	(void)state;
	config_defaults(&config);
	assert_int_equal(config_read(&config, "/nonexistent", false, error), 0);
	assert_string_equal(config.socket, "/run/vdmd/vdmd.sock");
	assert_int_equal(config.offload_threshold, 65536);
	assert_int_equal(config.limits.region_bytes, (uint64_t)16 << 30);
	config_free(&config);
}

static void a_file_that_is_asked_for_has_to_be_there(void **state)
{
	char error[CONFIG_ERROR_TEXT];
	struct config config;

	(void)state;
	config_defaults(&config);
	assert_int_equal(config_read(&config, "/nonexistent", true, error), -ENOENT);
	assert_non_null(strstr(error, "/nonexistent"));
	config_free(&config);
}

static void values_are_read(void **state)
{
	char error[CONFIG_ERROR_TEXT];
	struct config config;

	(void)state;
	assert_int_equal(
		read_text("# comment\n[vdmd]\nworkers = 7\npin=yes\nlog_level = debug\n"
			  "offload_threshold = 3M ; inline comment\n[limits]\nsessions=9\n",
			  &config, error),
		0);
	assert_int_equal(config.workers, 7);
	assert_int_equal(config.pin, 1);
	assert_int_equal(config.log_level, 7);
	assert_int_equal(config.offload_threshold, 3 << 20);
	assert_int_equal(config.limits.sessions, 9);
	config_free(&config);
}

static void a_users_section_goes_before_the_limits_of_all(void **state)
{
	char error[CONFIG_ERROR_TEXT];
	struct user_config user;
	struct config config;

	(void)state;
	assert_int_equal(read_text("[user 4321]\nweight=300\nregion_bytes=1M\npriority=high\n"
				   "[limits]\nregion_bytes=2M\nrings_per_session=5\n",
				   &config, error),
			 0);
	user = config_for_user(&config, 4321);
	assert_int_equal(user.weight, 300);
	assert_int_equal(user.priority, CONFIG_PRIORITY_HIGH);
	assert_int_equal(user.limits.region_bytes, 1 << 20);
	assert_int_equal(user.limits.rings_per_session, 5);
	user = config_for_user(&config, 4322);
	assert_int_equal(user.weight, 100);
	assert_int_equal(user.priority, CONFIG_PRIORITY_NORMAL);
	assert_int_equal(user.limits.region_bytes, 2 << 20);
	config_free(&config);
}

static void mistakes_are_named_by_file_and_line(void **state)
{
	static const struct {
		const char *text, *where, *what;
	} mistakes[] = {
		{"[vdmd]\nworkers=1\nsocks=1\n", ":3: ", "no key socks"},
		{"[vdmd]\n\nspin_us=-1\n", ":3: ", "0 to 1000000"},
		{"[vdmd]\nspin_us=1000001\n", ":2: ", "0 to 1000000"},
		{"[vdmd]\nspin_us=99999999999999999999\n", ":2: ", "0 to 1000000"},
		{"[vdmd]\nspin_us=\n", ":2: ", "0 to 1000000"},
		{"[vdmd]\npin=maybe\n", ":2: ", "it has to be no or yes"},
		{"[vdmd]\nlog_level=loud\n",
		 ":2: ", "it has to be error, warning, notice, info or debug"},
		{"[user 1]\npriority=1\n", ":2: ", "it has to be low, normal or high"},
		{"[vdmd]\nsocket=relative\n", ":2: ", "absolute"},
		{"[vdmd]\noffload_threshold=99999999T\n", ":2: ", "offload_threshold"},
		{"[vdmd]\noffload_threshold=1KK\n", ":2: ", "offload_threshold"},
		{"[vdmd]\nworkers=1\nworkers=1\n", ":3: ", "twice"},
		{"workers=1\n", ":1: ", "[vdmd]"},
		{"[other]\nworkers=1\n", ":1: ", "[other]"},
		{"[limits]\n[others]\n", ":2: ", "[others]"},
		{"[vdmd\nworkers=1\n", ":1: ", "[section]"},
		{"[vdmd]\nnonsense\n", ":2: ", "key = value"},
		{"[limits]\nregion_bytes=1\n", ":2: ", "4K"},
		{"[limits]\nentries_per_ring=9999\n", ":2: ", "4096"},
		{"[limits]\n\n[user no-such-user]\n\nweight=1\n", ":3: ", "no-such-user"},
		{"[user no-such-user]\n", ":1: ", "no-such-user"},
		{"[user]\nweight=1\n", ":1: ", "[user]"},
		{"[vdmd]\n= 1\n", ":2: ", "key = value"},
		{"[vdmd]\nworkers = 1 #2\n  pin = 1\n", ":3: ", "pin is"},
		{"[user 1]\nweight=0\n", ":2: ", "1 to 1000"},
		{"[user 1]\nsessions=1\n", ":2: ", "no key sessions"},
		{"[user 1]\nweight=1\nweight=2\n", ":3: ", "twice"},
		{"[user 4294967295]\nweight=1\n", ":1: ", "4294967295"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		char error[CONFIG_ERROR_TEXT];
		struct config config;

		assert_int_equal(read_text(mistakes[i].text, &config, error), -EINVAL);
		if (!strstr(error, mistakes[i].where) || !strstr(error, mistakes[i].what))
			print_message("%s -> %s\n", mistakes[i].text, error);
		assert_int_equal(strncmp(error, path, strlen(path)), 0);
		assert_non_null(strstr(error, mistakes[i].where));
		assert_non_null(strstr(error, mistakes[i].what));
		config_free(&config);
	}
}

/* Of any length: the second half of a line that is cut in two would be a setting. */
static void a_line_is_read_whole_or_refused(void **state)
{
	char error[CONFIG_ERROR_TEXT], text[8192];
	struct config config;

	(void)state;
	for (size_t length = 1; length < 4500; length++) {
		size_t n = (size_t)sprintf(text, "[vdmd]\n");

		memset(text + n, '#', length);
		sprintf(text + n + length, "workers = 3\nspin_us = 1\n");
		if (read_text(text, &config, error) == 0) {
			assert_int_equal(config.workers, 0);
			assert_int_equal(config.spin_us, 1);
		} else {
			fail_msg("%s", error);
		}
		config_free(&config);
	}
}

static void a_setting_that_is_too_long_is_refused(void **state)
{
	char error[CONFIG_ERROR_TEXT], text[8192];
	struct config config;

	(void)state;
	for (int length = 150; length < 4500; length++) {
		sprintf(text, "[vdmd]\nworkers = %0*d\nworkers = 3\n", length, 1);
		assert_int_equal(read_text(text, &config, error), -EINVAL);
		assert_non_null(strstr(error,
				       length < 190 ? "workers is" : ":2: the line is too long"));
	}
}

static void comments_may_follow_a_value(void **state)
{
	char error[CONFIG_ERROR_TEXT];
	struct config config;

	(void)state;
	assert_int_equal(read_text(" ; one\n\t# two\n[vdmd] ; three\nsocket = /a;b#c # four\n"
				   "workers = 2 ; five = six\nspin_us=3# not one\n",
				   &config, error),
			 -EINVAL);
	assert_non_null(strstr(error, ":6: spin_us is \"3# not one\""));
	assert_string_equal(config.socket, "/a;b#c");
	assert_int_equal(config.workers, 2);
	config_free(&config);
}

static void a_directory_is_no_configuration(void **state)
{
	char error[CONFIG_ERROR_TEXT];
	struct config config;

	(void)state;
	config_defaults(&config);
	assert_int_equal(config_read(&config, "/tmp", true, error), -EISDIR);
	assert_string_equal(error, "/tmp: cannot be read: Is a directory");
	assert_int_equal(config_read(&config, "/tmp", false, error), -EISDIR);
	config_free(&config);
}

static void long_lines_do_no_harm(void **state)
{
	char error[CONFIG_ERROR_TEXT], *text = malloc(100000);
	struct config config;

	(void)state;
	memset(text, 'x', 99999);
	memcpy(text, "[vdmd]\nsocket=/", 15);
	text[99999] = '\0';
	assert_int_equal(read_text(text, &config, error), -EINVAL);
	assert_true(strlen(error) > 0);
	config_free(&config);
	free(text);
}

static void what_is_printed_reads_back(void **state)
{
	struct config config, again;
	char error[CONFIG_ERROR_TEXT], first[8192] = "", second[8192] = "";

	(void)state;
	assert_int_equal(
		read_text(
			"[vdmd]\nsocket=/x/y\npin=yes\noffload_threshold=1025\n"
			"[limits]\nregion_bytes=3M\n[user 5]\nweight=9\npriority=low\nregion_bytes=8K\n",
			&config, error),
		0);
	FILE *out = fmemopen(first, sizeof first, "w");

	config_print(&config, out);
	fclose(out);
	assert_int_equal(read_text(first, &again, error), 0);
	out = fmemopen(second, sizeof second, "w");
	config_print(&again, out);
	fclose(out);
	assert_string_equal(first, second);
	assert_non_null(strstr(first, "offload_threshold = 1025\n"));
	assert_non_null(strstr(first, "[user 5]\nweight = 9\npriority = low\n"));
	config_free(&config);
	config_free(&again);
}

static unsigned restarts;

static void count_restart(const char *section, const char *name)
{
	(void)section;
	(void)name;
	restarts++;
}

static void reloading_applies_what_it_can_and_tells_the_rest(void **state)
{
	char error[CONFIG_ERROR_TEXT];
	struct config config, fresh;

	(void)state;
	config_defaults(&config);
	assert_int_equal(
		read_text("[vdmd]\nsocket=/other\nworkers=3\nspin_us=1\n[limits]\nsessions=2\n"
			  "[user 5]\nweight=9\n",
			  &fresh, error),
		0);
	config_apply(&config, &fresh, count_restart);
	assert_int_equal(restarts, 2);
	assert_string_equal(config.socket, "/run/vdmd/vdmd.sock");
	assert_int_equal(config.workers, 0);
	assert_int_equal(config.spin_us, 1);
	assert_int_equal(config.limits.sessions, 2);
	assert_int_equal(config.user_count, 1);
	config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_hold_without_a_file),
		cmocka_unit_test(a_file_that_is_asked_for_has_to_be_there),
		cmocka_unit_test(values_are_read),
		cmocka_unit_test(a_users_section_goes_before_the_limits_of_all),
		cmocka_unit_test(mistakes_are_named_by_file_and_line),
		cmocka_unit_test(a_line_is_read_whole_or_refused),
		cmocka_unit_test(a_setting_that_is_too_long_is_refused),
		cmocka_unit_test(comments_may_follow_a_value),
		cmocka_unit_test(a_directory_is_no_configuration),
		cmocka_unit_test(long_lines_do_no_harm),
		cmocka_unit_test(what_is_printed_reads_back),
		cmocka_unit_test(reloading_applies_what_it_can_and_tells_the_rest),
	};
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);

	int result = cmocka_run_group_tests(tests, NULL, NULL);

	unlink(path);
	return result;
}
