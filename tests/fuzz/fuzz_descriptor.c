/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of every kind against a table of regions: what the engine accepts has to lie within a
 * region that allows it, by a check that is written in another way than the engine's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/descriptor.h"
#include "op/run.h"
#include "fuzz.h"

#define REGIONS 4

static struct region {
	char *base;
	size_t size;
	bool writable;
	uint32_t id;
} region[REGIONS];

static struct engine_memory *regions;

static void set_up(void)
{
	struct engine_options options = {.workers = 1};
	struct engine *engine;

	REQUIRE(engine_new(&options, &engine) == 0);
	REQUIRE(engine_memory_new(engine, REGIONS + 1, &regions) == 0);
	for (unsigned i = 0; i < REGIONS; i++) {
		region[i] = (struct region){.size = 4096u << i, .writable = i % 2 == 0};
		region[i].base = calloc(1, region[i].size);
		REQUIRE(engine_region_add(regions, region[i].base, region[i].size,
					  region[i].writable, &region[i].id) == 0);
	}
}

/* Whether [address, address + length) is within the region of that id. */
static bool within(uint32_t id, const char *address, size_t length, bool write)
{
	for (unsigned i = 0; i < REGIONS; i++) {
		if (region[i].id != id)
			continue;
		__int128 begin = (uintptr_t)address, base = (uintptr_t)region[i].base;

		return begin >= base && begin + length <= base + region[i].size &&
		       (!write || region[i].writable);
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vdm_descriptor descriptor;
	struct operation operation;

	if (!regions)
		set_up();
	if (size < sizeof descriptor + 2)
		return 0;
	memcpy(&descriptor, data, sizeof descriptor);
	/* random ids are nearly never right: let two bytes choose real ones, too */
	if (data[sizeof descriptor] < REGIONS)
		descriptor.destination_region = region[data[sizeof descriptor]].id;
	if (data[sizeof descriptor + 1] < REGIONS)
		descriptor.source_region = region[data[sizeof descriptor + 1]].id;
	operation.error = descriptor_resolve(&descriptor, 7, regions, &operation);

	REQUIRE(operation.position == 7 && operation.user_data == descriptor.user_data);
	REQUIRE(operation.error == 0 || operation.error == -EINVAL || operation.error == -EFAULT ||
		operation.error == -EACCES || operation.error == -EOPNOTSUPP);
	if (operation.error)
		return 0;
	REQUIRE(operation.opcode < VDM_OPCODE_COUNT);
	REQUIRE(!(operation.flags & VDM_DESCRIPTOR_DURABLE));
	bool copies =
		operation.opcode == VDM_OPCODE_MEMCPY || operation.opcode == VDM_OPCODE_MEMMOVE;
	bool writes = copies || operation.opcode == VDM_OPCODE_MEMSET;

	REQUIRE(operation.length == 0 || operation.length == descriptor.length);
	if (writes || operation.destination)
		REQUIRE(within(descriptor.destination_region, operation.destination,
			       operation.length, writes));
	REQUIRE(copies == (operation.source != NULL));
	if (copies)
		REQUIRE(within(descriptor.source_region, operation.source, operation.length,
			       false));
	if (writes && operation.length <= 4096)
		operation_run(&operation, 0, operation.length, kernels_default(), 0);
	return 0;
}
