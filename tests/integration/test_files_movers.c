/* SPDX-License-Identifier: BSD-3-Clause */
/* test_files_movers [--local]: movers and regions of files, and a daemon that dies meanwhile. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <libvdm-miniasync/libminiasync-vdm-dml.h>

#include "cmocka_test.h"
#include "daemon_process.h"
#include "file_use.h"
#include "ring_use.h"
#include "scale.h"

#define LARGE ((size_t)4 << 20)

static struct runtime *runtime;

static int set_up(void **state)
{
	runtime = runtime_new();
	return runtime ? file_set_up(state) : -1;
}

static int tear_down(void **state)
{
	runtime_delete(runtime);
	return file_tear_down(state);
}

static enum vdm_operation_result run(struct vdm_operation_future future)
{
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&future));
	return FUTURE_OUTPUT(&future)->result;
}

/* `address` is of a region of the file that the mover knows. */
static void use_mover(struct vdm *vdm, char *address)
{
	char from[1000], to[1000], found[1000];

	memset(from, 'f', sizeof from);
	assert_int_equal(run(vdm_memcpy(vdm, address + 1, from, sizeof from, VDM_F_MEM_DURABLE)),
			 VDM_SUCCESS);
	assert_int_equal(pread(file, found, sizeof found, 1), sizeof found);
	assert_memory_equal(found, from, sizeof found);
	assert_int_equal(run(vdm_flush(vdm, address, FILE_SIZE, 0)), VDM_SUCCESS);
	assert_int_equal(run(vdm_memcpy(vdm, to, address + 1, sizeof to, 0)), VDM_SUCCESS);
	assert_memory_equal(to, from, sizeof to);
	assert_int_equal(run(vdm_memmove(vdm, address + PAGE, address, 1001, 0)), VDM_SUCCESS);
	assert_int_equal(run(vdm_memset(vdm, address, 0, 2, VDM_F_MEM_DURABLE)), VDM_SUCCESS);
	assert_int_equal(pread(file, found, 3, 0), 3);
	assert_memory_equal(found, "\0\0f", 3);
	assert_int_equal(run(vdm_memcpy(vdm, to, address + PAGE + 1, sizeof to, 0)), VDM_SUCCESS);
	assert_memory_equal(to, from, sizeof to);
	assert_int_equal(run(vdm_memset(vdm, address + FILE_SIZE - 1, 0, 2, 0)),
			 VDM_ERROR_JOB_CORRUPTED);
}

static void the_daemon_mover_reaches_files(void **state)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = local ? VDM_OPTION_LOCAL_ONLY : 0};
	struct data_mover_daemon *mover = data_mover_daemon_new(&options);
	struct vdm *vdm = data_mover_daemon_get_vdm(mover);
	struct vdm_client *of_mover = data_mover_daemon_get_client(mover);
	struct vdm_region *of_file;
	char memory[10], *address = file_region_opened(of_mover, file, FILE_SIZE, 0, &of_file);

	(void)state;
	use_mover(vdm, address);
	assert_true(vdm_is_supported(vdm, VDM_F_MEM_DURABLE));
	assert_int_equal(run(vdm_memset(vdm, memory, 0, sizeof memory, VDM_F_MEM_DURABLE)),
			 VDM_ERROR_JOB_CORRUPTED);
	vdm_region_release(of_file);
	data_mover_daemon_delete(mover);
}

static void *own_memcpy(void *dest, const void *src, size_t n, unsigned flags)
{
	(void)flags;
	return memcpy(dest, src, n);
}

/* They write back from the caches what is to be durable in memory, and must not do so in files. */
static void movers_of_miniasync_reach_files(void **state)
{
	struct vdm_region *of_file;
	char *address = file_region_opened(vdm_client_default(), file, FILE_SIZE, 0, &of_file);
	struct data_mover_dml *dml = data_mover_dml_new(DATA_MOVER_DML_AUTO);
	struct data_mover_threads *threads = data_mover_threads_default();
	char memory[10];

	(void)state;
	use_mover(data_mover_dml_get_vdm(dml), address);
	if (vdm_is_supported(data_mover_dml_get_vdm(dml), VDM_F_MEM_DURABLE))
		assert_int_equal(run(vdm_memset(data_mover_dml_get_vdm(dml), memory, 0,
						sizeof memory, VDM_F_MEM_DURABLE)),
				 VDM_SUCCESS);
	use_mover(data_mover_threads_get_vdm(threads), address);
	/* its own functions are for memory */
	data_mover_threads_set_memcpy_fn(threads, own_memcpy);
	use_mover(data_mover_threads_get_vdm(threads), address);
	data_mover_threads_delete(threads);
	data_mover_dml_delete(dml);
	vdm_region_release(of_file);
}

/* Operations on memory end, and those on files do what they are to do. */
static void files_go_on_when_the_daemon_dies(void **state)
{
	struct daemon_process daemon = {.pid = 0};
	const struct vdm_options options = {.size = sizeof options, .offload_threshold = 1};
	struct vdm_client *mortal;
	struct vdm_region *shared, *longer;

	(void)state;
	if (!local)
		skip(); /* this one has to live */
	daemon_prepare(&daemon);
	for (unsigned round = 0; round < scaled(10); round++) {
		daemon_start(&daemon, 1);
		assert_int_equal(vdm_client_open(&options, &mortal), 0);
		struct vdm_ring *own = ring, *theirs = ring_opened(mortal, 64, 0);
		char *memory = region_opened(mortal, LARGE, &shared), found[LARGE / 64];
		char *address = file_region_opened(mortal, file, LARGE, VDM_REGION_EXTEND, &longer);
		int32_t results[32];

		ring = theirs;
		if (round % 2)
			assert_true(vdm_ring_eventfd(ring) >= 0);
		for (unsigned i = 0; i < 16; i++) {
			add_set(2 * i, memory, (int)i, LARGE, 0);
			add_set(2 * i + 1, address + LARGE / 64 * i, (int)(round + i), LARGE / 64,
				i == 8 ? VDM_SQE_FENCE : 0);
		}
		assert_int_equal(vdm_ring_submit(ring), 32);
		daemon_kill(&daemon);
		run_all(ring, 32, results, NULL);
		for (unsigned i = 0; i < 32; i++)
			if (results[i])
				assert_true(i % 2 == 0 && results[i] == -ENOTCONN);
		for (unsigned i = 0; i < 16; i++) {
			assert_int_equal(pread(file, found, sizeof found, (off_t)(LARGE / 64 * i)),
					 sizeof found);
			assert_filled(found, (int)(round + i), sizeof found);
		}
		assert_int_equal(set(address, 0, 1, VDM_SQE_DURABLE), 0);
		assert_int_equal(set(memory, 0, 1, 0), 0);
		vdm_ring_close(theirs);
		ring = own;
		vdm_region_release(longer);
		vdm_region_release(shared);
		vdm_client_close(mortal);
	}
	daemon_remove(&daemon);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(the_daemon_mover_reaches_files),
		WITH_FILE(movers_of_miniasync_reach_files),
		WITH_FILE(files_go_on_when_the_daemon_dies),
	};

	file_use_arguments(argc, argv);
	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
