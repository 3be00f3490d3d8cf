/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "engine/memory.h"

#define BYTES 4096

static char bytes[BYTES];

static int resolve(const struct engine_memory *memory, uint32_t region, uint64_t offset,
		   uint64_t length, bool write)
{
	char *address;

	return memory_resolve(memory, region, offset, length, write, &address);
}

static void a_range_resolves_if_it_lies_wholly_in_its_region(void **state)
{
	struct engine_memory *memory;
	uint32_t id;
	char *address;

	(void)state;
	assert_int_equal(memory_new(NULL, 2, &memory), 0);
	assert_int_equal(memory_add(memory, bytes, BYTES, true, &id), 0);
	assert_int_equal(memory_resolve(memory, id, 10, BYTES - 10, true, &address), 0);
	assert_ptr_equal(address, bytes + 10);
	assert_int_equal(resolve(memory, id, BYTES, 0, true), 0);
	assert_int_equal(resolve(memory, id, 10, BYTES - 9, true), -EFAULT);
	assert_int_equal(resolve(memory, id, BYTES + 1, 0, true), -EFAULT);
	assert_int_equal(resolve(memory, id, UINT64_MAX, 2, true), -EFAULT);
	assert_int_equal(resolve(memory, id, 2, UINT64_MAX, true), -EFAULT);
	memory_free(memory);
}

/* Whatever the number: of a free slot, of no slot, of the first, of another generation. */
static void no_other_number_names_a_region(void **state)
{
	struct engine_memory *memory;
	uint32_t id;

	(void)state;
	assert_int_equal(memory_new(NULL, 2, &memory), 0);
	assert_int_equal(memory_add(memory, bytes, BYTES, true, &id), 0);
	for (uint32_t region = 0; region < 1u << 20; region++)
		assert_int_equal(resolve(memory, region, 0, 1, false), region == id ? 0 : -EFAULT);
	assert_int_equal(resolve(memory, UINT32_MAX, 0, 1, false), -EFAULT);
	memory_free(memory);
}

static void a_read_only_region_is_not_written(void **state)
{
	struct engine_memory *memory;
	uint32_t id;

	(void)state;
	assert_int_equal(memory_new(NULL, 2, &memory), 0);
	assert_int_equal(memory_add(memory, bytes, BYTES, false, &id), 0);
	assert_int_equal(resolve(memory, id, 0, BYTES, false), 0);
	assert_int_equal(resolve(memory, id, 0, BYTES, true), -EACCES);
	memory_free(memory);
}

static void memory_without_a_table_is_the_address_space(void **state)
{
	struct engine_memory *memory;
	char *address;

	(void)state;
	assert_int_equal(memory_new(NULL, 0, &memory), 0);
	assert_int_equal(memory_resolve(memory, 0, (uintptr_t)bytes, BYTES, true, &address), 0);
	assert_ptr_equal(address, bytes);
	assert_int_equal(resolve(memory, 0, UINT64_MAX, 1, true), -EFAULT);
	assert_int_equal(resolve(memory, 1, (uintptr_t)bytes, 1, true), -EFAULT);
	assert_int_equal(resolve(memory, 0x10000, (uintptr_t)bytes, 1, true), -EFAULT);
	assert_null(memory_find(memory, 0));
	memory_free(memory);
}

static void a_slot_is_free_again_after_the_removal_and_not_before(void **state)
{
	struct engine_memory *memory;
	uint32_t first, second, next;

	(void)state;
	assert_int_equal(memory_new(NULL, 2, &memory), 0);
	assert_int_equal(memory_add(memory, bytes, BYTES, true, &first), 0);
	assert_int_equal(memory_add(memory, bytes, BYTES, true, &second), 0);
	assert_int_equal(memory_add(memory, bytes, BYTES, true, &next), -ENOSPC);
	struct memory_region *region = memory_find(memory, first);

	assert_non_null(region);
	memory_hide(region);
	assert_int_equal(resolve(memory, first, 0, 1, false), -EFAULT);
	assert_ptr_equal(memory_find(memory, first), region);
	assert_int_equal(memory_add(memory, bytes, BYTES, true, &next), -ENOSPC);
	memory_remove(memory, region);
	assert_null(memory_find(memory, first));
	assert_int_equal(memory_add(memory, bytes, BYTES, true, &next), 0);
	assert_int_not_equal(next, first);
	assert_int_equal(resolve(memory, first, 0, 1, false), -EFAULT);
	assert_int_equal(resolve(memory, second, 0, 1, false), 0);
	memory_free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_resolves_if_it_lies_wholly_in_its_region),
		cmocka_unit_test(no_other_number_names_a_region),
		cmocka_unit_test(a_read_only_region_is_not_written),
		cmocka_unit_test(memory_without_a_table_is_the_address_space),
		cmocka_unit_test(a_slot_is_free_again_after_the_removal_and_not_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
