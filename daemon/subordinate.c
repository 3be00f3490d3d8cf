/* SPDX-License-Identifier: BSD-3-Clause */
#include "subordinate.h"

#include <errno.h>
#include <pwd.h>
#include <shadow/subid.h>
#include <stdio.h>
#include <stdlib.h>

/* Longest entry of the user database that is understood. */
#define ENTRY_BYTES 16384

/*
 * libsubid compares the names in the file with the one that it is given. A user without a name is
 * in the file by its number.
 */
static void find_ranges(struct subordinate *answer)
{
	char *text = malloc(ENTRY_BYTES), number[16];
	struct passwd entry, *found = NULL;

	if (text && getpwuid_r(answer->account, &entry, text, ENTRY_BYTES, &found) != 0)
		found = NULL;
	snprintf(number, sizeof number, "%u", (unsigned)answer->account);
	answer->range_count = subid_get_uid_ranges(found ? entry.pw_name : number, &answer->ranges);
	if (answer->range_count <= 0) {
		answer->range_count = 0;
		answer->ranges = NULL;
	}
	free(text);
}

int subordinate_find(uid_t uid, struct subordinate *answer)
{
	static bool initialized;
	uid_t *owners = NULL;

	/* What it says, once, about a service of nsswitch.conf(5) that it cannot use. */
	if (!initialized)
		initialized = subid_init("vdmd", stderr);
	*answer = (struct subordinate){.uid = uid, .account = uid};
	errno = 0;

	int count = subid_get_uid_owners(uid, &owners);

	if (count < 0 && (errno == ENOMEM || errno == EMFILE || errno == ENFILE))
		return errno == ENOMEM ? -ENOMEM : -EMFILE;
	/* without the file there are no subordinate ids */
	answer->failed = count < 0 && errno != ENOENT;
	if (count <= 0)
		return 0;
	answer->account = owners[0];
	for (int i = 1; i < count; i++)
		if (owners[i] < answer->account)
			answer->account = owners[i];
	free(owners);
	if (count == 1 && answer->account != uid)
		find_ranges(answer);
	return 0;
}
