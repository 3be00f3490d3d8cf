/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "engine/engine.h"
#include "ini_file.h"
#include "proto/ring.h"

static_assert(CONFIG_ERROR_TEXT == INI_ERROR_TEXT, "one is passed on as the other");

/*
 * A smaller copy ends sooner in the client than a request and its answer take; measured with
 * vdm-bench.
 */
#define DEFAULT_OFFLOAD_THRESHOLD "64K"

enum kind { KIND_TEXT, KIND_COUNT, KIND_BYTES, KIND_CHOICE };

struct key {
	const char *section, *name;
	enum kind kind;
	/* in struct config, in struct limits for section "limits", or in struct user_config */
	size_t offset;
	uint64_t minimum, maximum;
	const char *const *choices; /* a name for each number from minimum to maximum */
	bool live;                  /* a reload applies it */
	bool of_user;               /* may be given in a [user NAME] section */
	const char *value;          /* default */
	const char *meaning;
};

#define VDMD(field)  "vdmd", #field, .offset = offsetof(struct config, field)
#define LIMIT(field) "limits", #field, .offset = offsetof(struct limits, field), .live = true
#define MAX_COUNT    1000000
#define MAX_BYTES    (1ull << 50)

/* Longest entry of the user database that is understood. */
#define USER_ENTRY_BYTES 16384

/* Shows the beginning of a wrong value. */
#define SHOWN "%.80s"

static const char *const levels[] = {
	[LOG_ERR] = "error", [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice",
	[LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};
static const char *const answers[] = {"no", "yes"};
static const char *const priorities[] = {
	[CONFIG_PRIORITY_LOW] = "low",
	[CONFIG_PRIORITY_NORMAL] = "normal",
	[CONFIG_PRIORITY_HIGH] = "high",
};

static const struct key keys[] = {
	{VDMD(socket), .kind = KIND_TEXT, .value = "/run/vdmd/vdmd.sock",
	 .meaning = "Path of the socket that clients connect to."},
	{VDMD(workers), .kind = KIND_COUNT, .maximum = 256, .value = "0",
	 .meaning = "Threads that copy; 0: half the CPUs, at least one."},
	{VDMD(spin_us), .kind = KIND_COUNT, .maximum = 1000000, .live = true, .value = "50",
	 .meaning =
		 "Microseconds that a quiet ring is polled before its client has to wake a worker."},
	{VDMD(pin), .kind = KIND_CHOICE, .choices = answers, .maximum = 1, .value = "no",
	 .meaning = "Bind each worker to a CPU."},
	{VDMD(offload_threshold), .kind = KIND_BYTES, .minimum = 1, .maximum = MAX_BYTES,
	 .live = true, .value = DEFAULT_OFFLOAD_THRESHOLD,
	 .meaning = "Bytes below which clients are advised to copy for themselves."},
	{VDMD(log_level), .kind = KIND_CHOICE, .choices = levels, .minimum = LOG_ERR,
	 .maximum = LOG_DEBUG, .live = true, .value = "info",
	 .meaning = "Least important messages to log: error, warning, notice, info or debug."},
	{LIMIT(sessions), .kind = KIND_COUNT, .minimum = 1, .maximum = MAX_COUNT, .value = "1024",
	 .meaning = "Connections of all users."},
	{LIMIT(sessions_per_user), .kind = KIND_COUNT, .minimum = 1, .maximum = MAX_COUNT,
	 .of_user = true, .value = "256", .meaning = "Connections of one user."},
	{LIMIT(rings_per_user), .kind = KIND_COUNT, .minimum = 1, .maximum = MAX_COUNT,
	 .of_user = true, .value = "1024", .meaning = "Rings of one user."},
	{LIMIT(rings_per_session), .kind = KIND_COUNT, .minimum = 1, .maximum = MAX_COUNT,
	 .of_user = true, .value = "64", .meaning = "Rings of one connection."},
	{LIMIT(entries_per_ring), .kind = KIND_COUNT, .minimum = VDM_RING_MIN_ENTRIES,
	 .maximum = VDM_RING_MAX_ENTRIES, .of_user = true, .value = "4096",
	 .meaning = "Entries of one ring."},
	{LIMIT(entries_per_user), .kind = KIND_COUNT, .minimum = VDM_RING_MIN_ENTRIES,
	 .maximum = MAX_COUNT * 1000ull, .of_user = true, .value = "1048576",
	 .meaning = "Entries of all rings of one user."},
	{LIMIT(regions_per_user), .kind = KIND_COUNT, .minimum = 1, .maximum = MAX_COUNT,
	 .of_user = true, .value = "4096", .meaning = "Regions of one user."},
	{LIMIT(regions_per_session), .kind = KIND_COUNT, .minimum = 1, .maximum = 65535,
	 .of_user = true, .value = "256", .meaning = "Regions of one connection."},
	{LIMIT(region_bytes), .kind = KIND_BYTES, .minimum = 4096, .maximum = MAX_BYTES,
	 .of_user = true, .value = "16G", .meaning = "Bytes of one region."},
	{LIMIT(mapped_bytes_per_user), .kind = KIND_BYTES, .minimum = 4096, .maximum = MAX_BYTES,
	 .of_user = true, .value = "64G", .meaning = "Bytes of all regions of one user."},
	{LIMIT(in_flight_bytes_per_user), .kind = KIND_BYTES, .minimum = 65536,
	 .maximum = MAX_BYTES, .of_user = true, .value = "64G",
	 .meaning = "Bytes of the operations of one user that have begun; of those above 64 KiB."},
	{LIMIT(descriptors_per_user), .kind = KIND_COUNT, .minimum = 4, .maximum = MAX_COUNT,
	 .of_user = true, .value = "8192",
	 .meaning = "Descriptors that vdmd has open for one user."},
	{LIMIT(handshakes_per_second), .kind = KIND_COUNT, .minimum = 1, .maximum = MAX_COUNT,
	 .of_user = true, .value = "5000", .meaning = "New connections of one user in a second."},
};
#define KEY_COUNT (sizeof keys / sizeof *keys)

/* Keys that a [user NAME] section may have beside limits. */
static const struct key user_keys[] = {
	{"user", "weight", KIND_COUNT, offsetof(struct user_config, weight), .minimum = 1,
	 .maximum = 1000},
	{"user", "priority", KIND_CHOICE, offsetof(struct user_config, priority),
	 .choices = priorities, .minimum = CONFIG_PRIORITY_LOW, .maximum = CONFIG_PRIORITY_HIGH},
};
#define USER_KEY_COUNT  (sizeof user_keys / sizeof *user_keys)
#define USER_KEY_BIT(i) (1ull << (KEY_COUNT + (i)))
static_assert(KEY_COUNT + USER_KEY_COUNT <= 64, "a bit of struct user_config.given each");

static const struct user_config ordinary_user = {.weight = 100, .priority = CONFIG_PRIORITY_NORMAL};

static int complain(char error[CONFIG_ERROR_TEXT], const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static int complain(char error[CONFIG_ERROR_TEXT], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, CONFIG_ERROR_TEXT, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* Parse a number, with a suffix of bytes if `suffix` allows one. */
static bool parse_number(const char *text, bool suffix, uint64_t *number)
{
	static const char suffixes[] = "KMGT";
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;

	unsigned long long n = strtoull(text, &end, 10);
	const char *found = suffix && *end ? strchr(suffixes, *end) : NULL;

	if (found) {
		unsigned shift = 10 * (unsigned)(found - suffixes + 1);

		if (n > UINT64_MAX >> shift)
			return false;
		n <<= shift;
		end++;
	}
	if (errno || *end)
		return false;
	*number = n;
	return true;
}

static void format_bytes(uint64_t bytes, char text[32])
{
	static const char suffixes[] = {'\0', 'K', 'M', 'G', 'T', '\0'};
	unsigned unit = 0;

	while (unit < 4 && bytes > 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, 32, "%llu%c", (unsigned long long)bytes, suffixes[unit]);
}

static int parse_choice(const struct key *key, const char *value, uint64_t *number,
			char error[CONFIG_ERROR_TEXT])
{
	char names[128] = "";

	for (uint64_t i = key->minimum; i <= key->maximum; i++) {
		const char *before = i == key->minimum ? "" : i == key->maximum ? " or " : ", ";
		size_t length = strlen(names);

		if (!strcmp(value, key->choices[i])) {
			*number = i;
			return 0;
		}
		snprintf(names + length, sizeof names - length, "%s%s", before, key->choices[i]);
	}
	return complain(error, "%s is \"" SHOWN "\": it has to be %s", key->name, value, names);
}

static int parse_value(const struct key *key, const char *value, uint64_t *number,
		       char error[CONFIG_ERROR_TEXT])
{
	bool bytes = key->kind == KIND_BYTES;
	char least[32], most[32];

	switch (key->kind) {
	case KIND_CHOICE:
		return parse_choice(key, value, number, error);
	case KIND_COUNT:
	case KIND_BYTES:
		if (parse_number(value, bytes, number) && *number >= key->minimum &&
		    *number <= key->maximum)
			return 0;
		snprintf(least, sizeof least, "%llu", (unsigned long long)key->minimum);
		snprintf(most, sizeof most, "%llu", (unsigned long long)key->maximum);
		if (bytes) {
			format_bytes(key->minimum, least);
			format_bytes(key->maximum, most);
		}
		return complain(error, "%s is \"" SHOWN "\": it has to be a %s from %s to %s",
				key->name, value,
				bytes ? "number of bytes (K, M, G and T are understood)" : "number",
				least, most);
	case KIND_TEXT:
		break;
	}
	return -EINVAL;
}

static int set_text(const struct key *key, char *text, size_t size, const char *value,
		    char error[CONFIG_ERROR_TEXT])
{
	if (value[0] != '/')
		return complain(error, "%s is \"" SHOWN "\": it has to be an absolute path",
				key->name, value);
	if (strlen(value) >= size)
		return complain(error, "%s has %zu bytes: a socket's path has at most %zu",
				key->name, strlen(value), size - 1);
	memcpy(text, value, strlen(value) + 1);
	return 0;
}

static const void *value_of(const struct key *key, const struct config *config,
			    const struct limits *limits)
{
	const void *base =
		!strcmp(key->section, "limits") ? (const void *)limits : (const void *)config;

	return (const char *)base + key->offset;
}

static uint64_t *number_of(const struct key *key, struct config *config, struct limits *limits)
{
	return (uint64_t *)(uintptr_t)value_of(key, config, limits);
}

int config_set(struct config *config, const char *section, const char *name, const char *value,
	       char error[CONFIG_ERROR_TEXT])
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct key *key = &keys[i];

		if (strcmp(key->section, section) || strcmp(key->name, name))
			continue;
		if (key->kind == KIND_TEXT)
			return set_text(key, config->socket, sizeof config->socket, value, error);
		return parse_value(key, value, number_of(key, config, &config->limits), error);
	}
	return complain(error, "there is no key " SHOWN " in section [%s]", name, section);
}

void config_defaults(struct config *config)
{
	char error[CONFIG_ERROR_TEXT];

	*config = (struct config){0};
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (config_set(config, keys[i].section, keys[i].name, keys[i].value, error) < 0)
			abort(); /* the table is wrong */
}

void config_free(struct config *config)
{
	free(config->users);
	config->users = NULL;
	config->user_count = 0;
}

static int find_uid(const char *name, uid_t *uid)
{
	uint64_t number;

	if (parse_number(name, false, &number)) {
		*uid = (uid_t)number;
		return number < (uid_t)-1 ? 0 : -EINVAL;
	}

	/* not getpwnam(3), whose static data may be libsubid's at this moment, on another thread */
	struct passwd entry, *found = NULL;
	char *text = malloc(USER_ENTRY_BYTES);

	if (text && getpwnam_r(name, &entry, text, USER_ENTRY_BYTES, &found) == 0 && found)
		*uid = entry.pw_uid;
	free(text);
	return found ? 0 : -ENOENT;
}

static struct user_config *user_section(struct config *config, const char *name,
					char error[CONFIG_ERROR_TEXT])
{
	uid_t uid = 0;

	if (find_uid(name, &uid) < 0) {
		complain(error,
			 "there is no user \"" SHOWN "\": name a user of this system, or a user id",
			 name);
		return NULL;
	}
	for (size_t i = 0; i < config->user_count; i++)
		if (config->users[i].uid == uid)
			return &config->users[i];

	struct user_config *users =
		realloc(config->users, (config->user_count + 1) * sizeof *users);

	if (!users) {
		complain(error, "out of memory");
		return NULL;
	}
	config->users = users;
	users += config->user_count++;
	*users = ordinary_user;
	users->uid = uid;
	snprintf(users->name, sizeof users->name, "%s", name);
	return users;
}

/* Set one key of a [user NAME] section. */
static int set_for_user(struct user_config *user, const char *name, const char *value,
			char error[CONFIG_ERROR_TEXT])
{
	uint64_t *number = NULL, bit = 0;
	const struct key *key = NULL;

	for (size_t i = 0; i < USER_KEY_COUNT && !key; i++) {
		if (!strcmp(user_keys[i].name, name)) {
			key = &user_keys[i];
			number = (uint64_t *)((char *)user + key->offset);
			bit = USER_KEY_BIT(i);
		}
	}
	for (size_t i = 0; i < KEY_COUNT && !key; i++) {
		if (keys[i].of_user && !strcmp(keys[i].name, name)) {
			key = &keys[i];
			number = number_of(key, NULL, &user->limits);
			bit = 1ull << i;
		}
	}
	if (!key)
		return complain(error, "there is no key " SHOWN " in section [user NAME]", name);
	if (user->given & bit)
		return complain(error, "%s is given twice for user %u", name, (unsigned)user->uid);
	user->given |= bit;
	return parse_value(key, value, number, error);
}

/* The state of reading a file. */
struct reading {
	struct config *config;
	uint64_t given;           /* bits of the keys seen */
	const char *section;      /* "vdmd", "limits" or "user"; NULL before the first */
	struct user_config *user; /* of section "user"; config->users moves when it grows */
};

static int begin_section(void *context, const char *name, char error[CONFIG_ERROR_TEXT])
{
	static const char *const names[] = {"vdmd", "limits"};
	struct reading *reading = context;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!strcmp(name, names[i])) {
			reading->section = names[i];
			return 0;
		}
	}
	if (strncmp(name, "user ", strlen("user ")))
		return complain(error,
				"there is no section [" SHOWN
				"]: there are [vdmd], [limits] and [user NAME]",
				name);
	reading->section = "user";
	reading->user = user_section(reading->config, name + strlen("user "), error);
	return reading->user ? 0 : -EINVAL;
}

static int set_value(void *context, const char *name, const char *value,
		     char error[CONFIG_ERROR_TEXT])
{
	struct reading *reading = context;

	if (!reading->section)
		return complain(error, SHOWN " stands before any section: begin with [vdmd]", name);
	if (!strcmp(reading->section, "user"))
		return set_for_user(reading->user, name, value, error);
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].section, reading->section) || strcmp(keys[i].name, name))
			continue;
		if (reading->given & 1ull << i)
			return complain(error, "%s is given twice", name);
		reading->given |= 1ull << i;
	}
	return config_set(reading->config, reading->section, name, value, error);
}

int config_read(struct config *config, const char *path, bool required,
		char error[CONFIG_ERROR_TEXT])
{
	static const struct ini_handlers handlers = {.section = begin_section,
						     .setting = set_value};
	struct reading reading = {.config = config};
	int result = ini_read(path, &handlers, &reading, error);

	return result == -ENOENT && !required ? 0 : result;
}

/* `value` is text for KIND_TEXT, and a number for the other kinds. */
static void print_key(const struct key *key, const void *value, FILE *file)
{
	const uint64_t *number = value;
	char bytes[32];

	fprintf(file, "%s = ", key->name);
	switch (key->kind) {
	case KIND_TEXT:
		fprintf(file, "%s\n", (const char *)value);
		break;
	case KIND_COUNT:
		fprintf(file, "%llu\n", (unsigned long long)*number);
		break;
	case KIND_BYTES:
		format_bytes(*number, bytes);
		fprintf(file, "%s\n", bytes);
		break;
	case KIND_CHOICE:
		fprintf(file, "%s\n", key->choices[*number]);
		break;
	}
}

static void print_user(const struct user_config *user, FILE *file)
{
	fprintf(file, "\n[user %u]\n", (unsigned)user->uid);
	for (size_t i = 0; i < USER_KEY_COUNT; i++)
		if (user->given & USER_KEY_BIT(i))
			print_key(&user_keys[i], (const char *)user + user_keys[i].offset, file);
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (user->given & 1ull << i)
			print_key(&keys[i], value_of(&keys[i], NULL, &user->limits), file);
}

void config_print(const struct config *config, FILE *file)
{
	const char *section = "";

	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct key *key = &keys[i];

		if (strcmp(key->section, section)) {
			fprintf(file, "%s[%s]\n", *section ? "\n" : "", key->section);
			section = key->section;
		}
		fprintf(file, "; %s\n", key->meaning);
		print_key(key, value_of(key, config, &config->limits), file);
	}
	for (size_t u = 0; u < config->user_count; u++)
		print_user(&config->users[u], file);
}

void config_apply(struct config *config, struct config *fresh,
		  void (*restart)(const char *section, const char *name))
{
	if (strcmp(config->socket, fresh->socket))
		restart("vdmd", "socket");
	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct key *key = &keys[i];

		if (key->kind == KIND_TEXT)
			continue;

		uint64_t *number = number_of(key, config, &config->limits);
		uint64_t now = *number_of(key, fresh, &fresh->limits);

		if (key->live)
			*number = now;
		else if (*number != now)
			restart(key->section, key->name);
	}
	free(config->users);
	config->users = fresh->users;
	config->user_count = fresh->user_count;
	fresh->users = NULL;
	fresh->user_count = 0;
}

struct user_config config_for_user(const struct config *config, uid_t uid)
{
	struct user_config result = ordinary_user;

	for (size_t u = 0; u < config->user_count; u++)
		if (config->users[u].uid == uid)
			result = config->users[u];
	result.uid = uid;
	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct key *key = &keys[i];

		if (!strcmp(key->section, "limits") && !(result.given & 1ull << i))
			*number_of(key, NULL, &result.limits) =
				*(const uint64_t *)value_of(key, NULL, &config->limits);
	}
	return result;
}

bool config_is_users_own(const struct user_config *user, const char *limit)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (keys[i].of_user && !strcmp(keys[i].name, limit))
			return user->given & 1ull << i;
	return false;
}
