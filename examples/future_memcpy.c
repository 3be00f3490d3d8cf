/* SPDX-License-Identifier: BSD-3-Clause */
/* A copy as a future: created, started by its first poll, and waited for. */
#include <libvdm.h>
#include <stdio.h>
#include <string.h>

#define BYTES ((size_t)1 << 20)

int main(void)
{
	struct data_mover_daemon *mover = data_mover_daemon_default();
	struct runtime *runtime = runtime_new();
	struct vdm_region *from_region, *to_region;

	if (!mover || !runtime) {
		fprintf(stderr, "%s\n", vdm_last_error());
		return 1;
	}

	/* Any memory may be used. The daemon copies what lies in regions of the mover's client. */
	struct vdm_client *client = data_mover_daemon_get_client(mover);

	if (vdm_region_alloc(client, BYTES, &from_region) ||
	    vdm_region_alloc(client, BYTES, &to_region)) {
		fprintf(stderr, "%s\n", vdm_last_error());
		return 1;
	}
	char *from = vdm_region_address(from_region), *to = vdm_region_address(to_region);

	memset(from, 'x', BYTES);

	struct vdm *vdm = data_mover_daemon_get_vdm(mover);
	struct vdm_operation_future copy = vdm_memcpy(vdm, to, from, BYTES, 0);

	/* The first poll starts the copy. Here the program can do something else. */
	future_poll(FUTURE_AS_RUNNABLE(&copy), NULL);
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&copy));

	if (FUTURE_OUTPUT(&copy)->result != VDM_SUCCESS) {
		fprintf(stderr, "the copy failed\n");
		return 1;
	}
	printf("%zu bytes copied\n", BYTES);
	int wrong = memcmp(from, to, BYTES) != 0;

	vdm_region_release(from_region);
	vdm_region_release(to_region);
	data_mover_daemon_delete(mover);
	runtime_delete(runtime);
	return wrong;
}
