/* SPDX-License-Identifier: BSD-3-Clause */
/* Two operations that follow each other: a copy, and then overwriting the end of it. */
#include <libvdm.h>
#include <stdio.h>
#include <string.h>

#define BYTES ((size_t)1 << 20)
#define TAIL  4096

struct copy_and_end_data {
	FUTURE_CHAIN_ENTRY(struct vdm_operation_future, copy);
	FUTURE_CHAIN_ENTRY_LAST(struct vdm_operation_future, end);
};

struct copy_and_end_output {
	int failed;
};

FUTURE(copy_and_end, struct copy_and_end_data, struct copy_and_end_output);

/* When the copy is complete, its result decides what comes next. */
static void copy_to_end(struct future_context *copy, struct future_context *end, void *argument)
{
	const struct vdm_operation_output *output = future_context_get_output(copy);
	struct vdm_operation_data *next = future_context_get_data(end);

	(void)argument;
	next->operation.data.memset.str = (char *)output->output.memcpy.dest + BYTES - TAIL;
}

static void end_to_chain(struct future_context *end, struct future_context *chain, void *argument)
{
	const struct vdm_operation_output *output = future_context_get_output(end);
	struct copy_and_end_output *result = future_context_get_output(chain);

	(void)argument;
	result->failed = output->result != VDM_SUCCESS;
}

static struct copy_and_end copy_and_end(struct vdm *vdm, void *dest, void *src)
{
	struct copy_and_end chain = {0};

	FUTURE_CHAIN_ENTRY_INIT(&chain.data.copy, vdm_memcpy(vdm, dest, src, BYTES, 0), copy_to_end,
				NULL);
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.end, vdm_memset(vdm, NULL, 'z', TAIL, 0), end_to_chain,
				NULL);
	FUTURE_CHAIN_INIT(&chain);
	return chain;
}

int main(void)
{
	struct data_mover_daemon *mover = data_mover_daemon_default();
	struct runtime *runtime = runtime_new();
	static char from[BYTES], to[BYTES];

	if (!mover || !runtime) {
		fprintf(stderr, "%s\n", vdm_last_error());
		return 1;
	}
	memset(from, 'x', BYTES);

	struct copy_and_end chain = copy_and_end(data_mover_daemon_get_vdm(mover), to, from);

	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&chain));
	data_mover_daemon_delete(mover);
	runtime_delete(runtime);
	if (FUTURE_OUTPUT(&chain)->failed || to[0] != 'x' || to[BYTES - TAIL - 1] != 'x' ||
	    to[BYTES - TAIL] != 'z' || to[BYTES - 1] != 'z') {
		fprintf(stderr, "the chain failed\n");
		return 1;
	}
	printf("%zu bytes copied, the last %d of them overwritten\n", BYTES, TAIL);
	return 0;
}
