/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration files of every kind are refused with a sentence, or read. What is printed of these
 * reads back.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"
#include "fuzz.h"

static char path[64];
static int file = -1;

static int read_text(const void *text, size_t size, struct config *config)
{
	char error[CONFIG_ERROR_TEXT] = "";

	REQUIRE(ftruncate(file, 0) == 0 && pwrite(file, text, size, 0) == (ssize_t)size);
	config_defaults(config);

	int result = config_read(config, path, true, error);

	REQUIRE((result < 0) == (error[0] != '\0'));
	REQUIRE(result == 0 || strncmp(error, path, strlen(path)) == 0);
	return result;
}

static size_t print(const struct config *config, char *text, size_t size)
{
	FILE *out = fmemopen(text, size, "w");

	REQUIRE(out);
	config_print(config, out);

	long length = ftell(out);

	fclose(out);
	REQUIRE(length > 0 && (size_t)length < size);
	return (size_t)length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char first[1 << 20], second[1 << 20];
	struct config config, again;

	if (file < 0) {
		file = memfd_create("config", 0);
		REQUIRE(file >= 0);
		snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	}
	if (read_text(data, size, &config) == 0) {
		size_t length = print(&config, first, sizeof first);

		REQUIRE(read_text(first, length, &again) == 0);
		REQUIRE(print(&again, second, sizeof second) == length);
		REQUIRE(memcmp(first, second, length) == 0);
		config_free(&again);
	}
	config_free(&config);
	return 0;
}
