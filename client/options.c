/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "proto/ring.h"

static_assert(VDM_PRIORITY_LOW == VDM_RING_PRIORITY_LOW &&
		      VDM_PRIORITY_HIGH == VDM_RING_PRIORITY_HIGH,
	      "priorities pass through unchanged");

const struct vdm_options default_options = {
	.size = sizeof(struct vdm_options),
	.entries = 256,
	.spin_us = 50,
	.answer_timeout_ms = ANSWER_TIMEOUT_MS,
	.recovery_timeout_ms = RECOVERY_TIMEOUT_MS,
};

static bool has_all(uint32_t flags, uint32_t bits)
{
	return (flags & bits) == bits;
}

/* Copy a structure of the caller's size. Fields that this library does not have must be zero. */
static int options_copy(const struct vdm_options *given, struct vdm_options *options)
{
	const char *bytes = (const char *)given;

	if (given->size < offsetof(struct vdm_options, flags))
		return fail(-EINVAL,
			    "options.size is %zu: set it to sizeof(struct vdm_options), %zu",
			    given->size, sizeof *options);
	for (size_t i = sizeof *options; i < given->size; i++)
		if (bytes[i])
			return fail(-E2BIG,
				    "options has a field set that this library (%s) does not know: "
				    "install a newer one",
				    VDM_VERSION);
	memset(options, 0, sizeof *options);
	memcpy(options, given, given->size < sizeof *options ? given->size : sizeof *options);
	return 0;
}

static int options_check(const struct vdm_options *options)
{
	if (options->flags & ~VDM_OPTION_VALID_FLAGS)
		return fail(-EINVAL, "options.flags 0x%x has unknown bits", options->flags);
	if (has_all(options->flags, VDM_OPTION_REQUIRE_DAEMON | VDM_OPTION_LOCAL_ONLY))
		return fail(-EINVAL, "options.flags both requires and forbids a daemon");
	if (has_all(options->flags, VDM_OPTION_NOTIFY_NONE | VDM_OPTION_NOTIFY_POLLER))
		return fail(-EINVAL, "options.flags names two notifiers: at most one can be used");
	if (options->entries && !vdm_ring_entries_valid(options->entries))
		return fail(-EINVAL,
			    "options.entries is %u: it has to be a power of two from %d to %d",
			    options->entries, VDM_RING_MIN_ENTRIES, VDM_RING_MAX_ENTRIES);
	if (!vdm_ring_priority_valid(options->priority))
		return fail(
			-EINVAL,
			"options.priority is %d: it has to be VDM_PRIORITY_LOW, _NORMAL or _HIGH",
			options->priority);
	return 0;
}

int options_complete(const struct vdm_options *given, const struct vdm_options *defaults,
		     struct vdm_options *complete)
{
	struct vdm_options options = {0};
	int result = given ? options_copy(given, &options) : 0;

	if (!result)
		result = options_check(&options);
	if (result)
		return result;
	*complete = *defaults;
#define USE_IF_SET(field) complete->field = options.field ? options.field : complete->field
	USE_IF_SET(socket);
	USE_IF_SET(entries);
	USE_IF_SET(spin_us);
	USE_IF_SET(offload_threshold);
	USE_IF_SET(answer_timeout_ms);
	USE_IF_SET(recovery_timeout_ms);
	USE_IF_SET(first_sequence);
	USE_IF_SET(priority);
#undef USE_IF_SET
	if (complete->spin_us == VDM_NO_SPIN)
		complete->spin_us = 0;
	complete->features |= options.features;
	complete->flags |= options.flags;
	return 0;
}
