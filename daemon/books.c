/* SPDX-License-Identifier: BSD-3-Clause */
#include "books.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "log.h"
#include "refusal.h"

static const struct {
	const char *noun, *key; /* of the limit of a user; NULL: there is none */
	size_t limit;           /* offset in struct limits */
	const char *total;      /* what limits the total; NULL: nothing does */
} resources[RESOURCE_COUNT] = {
#define RESOURCE(noun, key, ...)                                                                   \
	{                                                                                          \
		noun, #key, offsetof(struct limits, key), __VA_ARGS__                              \
	}
	[RESOURCE_SESSIONS] = RESOURCE("sessions", sessions_per_user,
				       "sessions in [limits] of vdmd's configuration"),
	[RESOURCE_RINGS] = RESOURCE("rings", rings_per_user),
	[RESOURCE_ENTRIES] = RESOURCE("entries of rings", entries_per_user),
	[RESOURCE_REGIONS] = RESOURCE("regions", regions_per_user),
	[RESOURCE_MAPPED_BYTES] = RESOURCE("bytes of regions", mapped_bytes_per_user),
	[RESOURCE_DESCRIPTORS] =
		RESOURCE("descriptors", descriptors_per_user, "LimitNOFILE of vdmd's service"),
	[RESOURCE_MAPPINGS] = {"mappings", .total = "vm.max_map_count of sysctl(8)"},
};

/* Where the service cannot read it, it is as Linux has it. */
static uint64_t most_mappings(void)
{
	unsigned long long most = 65530;
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");

	if (file && fscanf(file, "%llu", &most) != 1)
		most = 65530;
	if (file)
		fclose(file);
	return most > MAPPINGS_OF_OWN ? most - MAPPINGS_OF_OWN : 0;
}

struct totals totals_in_force(const struct config *config)
{
	struct totals totals;
	struct rlimit files;

	for (unsigned i = 0; i < RESOURCE_COUNT; i++)
		totals.limit[i] = UINT64_MAX;
	totals.limit[RESOURCE_SESSIONS] = config->limits.sessions;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		totals.limit[RESOURCE_DESCRIPTORS] = files.rlim_cur > DESCRIPTORS_OF_OWN
							     ? files.rlim_cur - DESCRIPTORS_OF_OWN
							     : 0;
	totals.limit[RESOURCE_MAPPINGS] = most_mappings();
	return totals;
}

int book_refuse(const struct book *book, const char *key, char text[VDM_REFUSAL_TEXT],
		const char *format, ...)
{
	const struct user_config *settings = book->settings;
	char what[VDM_REFUSAL_TEXT], section[CONFIG_NAME_TEXT + 8] = "limits";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof what, format, arguments);
	va_end(arguments);
	if (config_is_users_own(settings, key))
		snprintf(section, sizeof section, "user %s", settings->name);
	return refuse(text, -EDQUOT, "user %u %s %s in [%s] of vdmd's configuration",
		      (unsigned)settings->uid, what, key, section);
}

static int check(const struct book *book, enum resource resource, uint64_t amount,
		 char text[VDM_REFUSAL_TEXT])
{
	const char *limits = (const char *)&book->settings->limits;
	const uint64_t limit = *(const uint64_t *)(limits + resources[resource].limit),
		       used = book->used[resource];

	if (amount == 0 || !resources[resource].key || (used <= limit && amount <= limit - used))
		return 0;
	return book_refuse(book, resources[resource].key, text,
			   "may have %llu %s and has %llu: %llu more need a higher",
			   (unsigned long long)limit, resources[resource].noun,
			   (unsigned long long)used, (unsigned long long)amount);
}

/* Whether the user of a book may have so much more of a total, taken one by one. */
static int check_share(const struct book *book, enum resource resource, uint64_t amount,
		       char text[VDM_REFUSAL_TEXT])
{
	const uint64_t total = book->sum->totals->limit[resource], all = book->sum->used[resource],
		       used = book->used[resource], left = total > all ? total - all : 0;

	if (amount == 0 || total == UINT64_MAX ||
	    (amount <= left && used + amount - 1 < left - (amount - 1)))
		return 0;
	return refuse(text, -EDQUOT,
		      "user %u has %llu %s and %llu are left for all users: a user gets more while "
		      "it has less than are left: give some back, or raise %s",
		      (unsigned)book->settings->uid, (unsigned long long)used,
		      resources[resource].noun, (unsigned long long)left,
		      resources[resource].total);
}

/* Check both kinds of limits, if the book is a user's. */
static int check_book(const struct book *book, const struct charge *wanted,
		      char text[VDM_REFUSAL_TEXT])
{
	int result = 0;

	for (unsigned i = 0; book->settings && i < RESOURCE_COUNT && !result; i++) {
		result = check(book, i, wanted->amount[i], text);
		if (!result && book->sum && book->sum->totals)
			result = check_share(book, i, wanted->amount[i], text);
	}
	return result;
}

static void enter(struct charge *charge, struct book *first)
{
	charge->book = first;
	for (struct book *book = first; book; book = book->sum)
		for (unsigned i = 0; i < RESOURCE_COUNT; i++)
			book->used[i] += charge->amount[i];
}

static int take(struct charge *charge, struct book *first, struct charge wanted,
		char text[VDM_REFUSAL_TEXT])
{
	for (const struct book *book = first; book; book = book->sum) {
		int result = check_book(book, &wanted, text);

		if (result)
			return result;
	}
	*charge = wanted;
	enter(charge, first);
	return 0;
}

/* The descriptors of a session: its lease; and its client's socket, until the porter has that. */
int charge_session(struct charge *charge, struct book *book, char text[VDM_REFUSAL_TEXT])
{
	const struct charge wanted = {
		.amount = {[RESOURCE_SESSIONS] = 1, [RESOURCE_DESCRIPTORS] = 2}};

	return take(charge, book, wanted, text);
}

/*
 * The descriptors of a ring are its doorbell, our end of its event channel and, until it is
 * started, those of its files.
 */
int charge_ring(struct charge *charge, struct book *book, uint32_t entries,
		char text[VDM_REFUSAL_TEXT])
{
	const struct charge wanted = {.amount = {[RESOURCE_RINGS] = 1,
						 [RESOURCE_MAPPINGS] = 2,
						 [RESOURCE_ENTRIES] = entries,
						 [RESOURCE_DESCRIPTORS] = 2 + RING_FILES}};

	return take(charge, book, wanted, text);
}

void charge_ring_started(struct charge *charge)
{
	for (struct book *book = charge->book; book; book = book->sum)
		book->used[RESOURCE_DESCRIPTORS] -= RING_FILES;
	charge->amount[RESOURCE_DESCRIPTORS] -= RING_FILES;
}

/* The descriptor of a region is its file, while the pages are being mapped. */
int charge_region(struct charge *charge, struct book *book, uint64_t bytes,
		  char text[VDM_REFUSAL_TEXT])
{
	const struct charge wanted = {.amount = {[RESOURCE_REGIONS] = 1,
						 [RESOURCE_MAPPINGS] = 1,
						 [RESOURCE_MAPPED_BYTES] = bytes,
						 [RESOURCE_DESCRIPTORS] = 1}};

	return take(charge, book, wanted, text);
}

int charge_file(struct charge *charge, struct book *book, char text[VDM_REFUSAL_TEXT])
{
	const struct charge wanted = {
		.amount = {[RESOURCE_REGIONS] = 1, [RESOURCE_DESCRIPTORS] = 1}};

	return take(charge, book, wanted, text);
}

void charge_release(struct charge *charge)
{
	for (struct book *book = charge->book; book; book = book->sum)
		for (unsigned i = 0; i < RESOURCE_COUNT; i++)
			book->used[i] -= charge->amount[i];
	charge->book = NULL;
}

void book_close(const struct book *book)
{
	for (unsigned i = 0; i < RESOURCE_COUNT; i++) {
		if (book->used[i] == 0)
			continue;
		log_message(LOG_CRIT, NULL, "a book is closed with %llu %s in it",
			    (unsigned long long)book->used[i], resources[i].noun);
		abort();
	}
}
