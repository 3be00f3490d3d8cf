#include <libvdm.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	struct vdm_client_counters counters = {.size = sizeof counters};
	struct vdm_client *client = vdm_client_default();
	struct vdm_region *from, *to;
	struct vdm_ring *ring;
	struct vdm_sqe *sqe;
	struct vdm_cqe *cqe;
	size_t n = 64 << 20;

	if (!client || vdm_region_alloc(client, n, &from) || vdm_region_alloc(client, n, &to) ||
	    vdm_ring_open(client, NULL, &ring))
		return fprintf(stderr, "%s\n", vdm_last_error()), 1;
	memset(vdm_region_address(from), 'x', n);
	sqe = vdm_ring_get_sqe(ring);
	vdm_prep_memcpy(sqe, vdm_region_address(to), vdm_region_address(from), n, 0);
	vdm_ring_submit(ring);
	/* here the program computes something */
	if (vdm_ring_wait_cqe(ring, &cqe) || cqe->result)
		return fprintf(stderr, "the copy failed\n"), 1;
	vdm_client_counters(client, &counters);
	printf("%zu bytes copied by %s\n", n,
	       counters.offloaded > counters.taken_back ? "vdmd" : "the program itself");
}
