/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program as it would have been written for libminiasync. This file includes no other header of
 * ours. Its buffers alone come from elsewhere: see miniasync_buffers.c.
 */
#include <stdio.h>
#include <string.h>

#include <libminiasync-vdm-dml.h>
#include <libminiasync.h>

void *buffer_get(size_t bytes);
int check_the_daemon_counted(unsigned long copies, unsigned long moves, unsigned long sets,
			     unsigned long bytes);

#define BYTES ((size_t)1 << 20)

static void pass_on(struct future_context *copied, struct future_context *set, void *argument)
{
	const struct vdm_operation_output *output = future_context_get_output(copied);
	struct vdm_operation_data *next = future_context_get_data(set);

	(void)argument;
	/* what has been copied is overwritten from the middle on */
	next->operation.data.memset.str = (char *)output->output.memcpy.dest + BYTES / 2;
}

struct copy_and_set_data {
	FUTURE_CHAIN_ENTRY(struct vdm_operation_future, copy);
	FUTURE_CHAIN_ENTRY_LAST(struct vdm_operation_future, set);
};

struct copy_and_set_output {
	int unused;
};

FUTURE(copy_and_set, struct copy_and_set_data, struct copy_and_set_output);

static int run_chain(struct vdm *vdm, struct runtime *runtime, char *dest, char *src)
{
	struct copy_and_set chain = {0};

	FUTURE_CHAIN_ENTRY_INIT(&chain.data.copy, vdm_memcpy(vdm, dest, src, BYTES, 0), pass_on,
				NULL);
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.set, vdm_memset(vdm, NULL, 'z', BYTES / 2, 0), NULL,
				NULL);
	FUTURE_CHAIN_INIT(&chain);
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&chain));
	if (memcmp(dest, src, BYTES / 2) != 0)
		return 1;
	for (size_t i = BYTES / 2; i < BYTES; i++)
		if (dest[i] != 'z')
			return 1;
	return 0;
}

static int run_many(struct vdm *vdm, struct runtime *runtime, char *dest, char *src)
{
	struct vdm_operation_future operations[8];
	struct future *futures[8];

	for (unsigned i = 0; i < 8; i++) {
		operations[i] = vdm_memmove(vdm, dest + i * (BYTES / 8), src + i * (BYTES / 8),
					    BYTES / 8, 0);
		futures[i] = FUTURE_AS_RUNNABLE(&operations[i]);
	}
	runtime_wait_multiple(runtime, futures, 8);
	for (unsigned i = 0; i < 8; i++)
		if (FUTURE_STATE(&operations[i]) != FUTURE_STATE_COMPLETE ||
		    FUTURE_OUTPUT(&operations[i])->result != VDM_SUCCESS)
			return 1;
	return memcmp(dest, src, BYTES) != 0;
}

static int run_polled(struct vdm *vdm, char *dest, char *src)
{
	struct vdm_operation_future copy = vdm_memcpy(vdm, dest, src, BYTES, VDM_F_NO_CACHE_HINT);

	FUTURE_BUSY_POLL(&copy);
	return FUTURE_OUTPUT(&copy)->output.memcpy.dest != dest || memcmp(dest, src, BYTES) != 0;
}

/* Through the mover of the hardware, which is the daemon's here. */
static int run_durable(struct runtime *runtime, char *dest, char *src)
{
	struct data_mover_dml *mover = data_mover_dml_new(DATA_MOVER_DML_HARDWARE);
	struct vdm *vdm = data_mover_dml_get_vdm(mover);
	struct vdm_operation_future copy = vdm_memcpy(vdm, dest, src, BYTES, VDM_F_MEM_DURABLE);

	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&copy));
	data_mover_dml_delete(mover);
	return FUTURE_OUTPUT(&copy)->result != VDM_SUCCESS || memcmp(dest, src, BYTES) != 0;
}

/* Memory that is in no region works, too, without the daemon. */
static int run_elsewhere(struct vdm *vdm, struct runtime *runtime)
{
	char from[100] = "text", to[100];
	struct vdm_operation_future copy = vdm_memcpy(vdm, to, from, sizeof from, 0);

	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&copy));
	return strcmp(to, "text") != 0;
}

int main(void)
{
	struct data_mover_threads *mover = data_mover_threads_default();
	struct runtime *runtime = runtime_new();
	char *src = buffer_get(BYTES), *dest = buffer_get(BYTES);

	if (!mover || !runtime || !src || !dest) {
		fprintf(stderr, "out of memory\n");
		return 1;
	}
	struct vdm *vdm = data_mover_threads_get_vdm(mover);

	for (size_t i = 0; i < BYTES; i++)
		src[i] = (char)(i * 7 + i / 251);

	int failed = run_chain(vdm, runtime, dest, src);

	memset(dest, 0, BYTES);
	failed |= run_many(vdm, runtime, dest, src) << 1;
	memset(dest, 0, BYTES);
	failed |= run_polled(vdm, dest, src) << 2;
	failed |= run_elsewhere(vdm, runtime) << 3;
	memset(dest, 0, BYTES);
	failed |= run_durable(runtime, dest, src) << 4;
	if (failed)
		fprintf(stderr, "parts 0x%x went wrong\n", (unsigned)failed);
	failed |= check_the_daemon_counted(3, 8, 1, 4 * BYTES + BYTES / 2);

	runtime_delete(runtime);
	data_mover_threads_delete(mover);
	return failed != 0;
}
