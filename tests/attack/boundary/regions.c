/* SPDX-License-Identifier: BSD-3-Clause */
/* Large regions, and many of them. */
#include "attacks.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libvdm.h>

#include "integration/scale.h"
#include "slow_files.h"
#include "wire.h"

#define GIB ((size_t)1 << 30)

/* At most a quarter of the memory that there is. */
static size_t bytes_within_reason(size_t bytes)
{
	unsigned long long available_kib = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "MemAvailable: %llu", &available_kib) == 1)
			break;
	if (file)
		fclose(file);
	while (bytes > available_kib * 1024 / 4)
		bytes /= 2;
	return bytes;
}

static struct vdm_client *open_client(void)
{
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .offload_threshold = 1};
	struct vdm_client *client;

	return vdm_client_open(&options, &client) == 0 ? client : NULL;
}

/* Add a memfd and remove it after a while, again and again. */
static void come_and_go(int memfd, size_t bytes, unsigned stay_ms)
{
	for (;;) {
		struct vdm_client *client = open_client();
		struct vdm_region *region;

		while (client && vdm_region_import(client, memfd, NULL, bytes, 0, &region) == 0) {
			attack_pause_ms(stay_ms);
			vdm_region_release(region);
			attack_round();
		}
		vdm_client_close(client);
		attack_pause_ms(10);
	}
}

static int need_memfd(size_t bytes)
{
	int memfd = wire_memfd(bytes);

	if (memfd < 0)
		attack_skip("there is no memory for a region of %zu MiB", bytes >> 20);
	return memfd;
}

void regions_huge(unsigned index)
{
	size_t bytes = bytes_within_reason(attack_scaled(48) * GIB / 8);
	int memfd = need_memfd(bytes);

	(void)index;
	attack_ready();
	come_and_go(memfd, bytes, 300);
}

void regions_among_hogs(unsigned index)
{
	const size_t bytes = GIB / 4;
	int memfd;

	if (index > 0) {
		attack_ready();
		for (volatile unsigned long n = 0;; n++)
			;
	}
	memfd = need_memfd(bytes);
	attack_ready();
	come_and_go(memfd, bytes, 5);
}

/* So many regions that the daemon's mappings run out (vm.max_map_count), by several users. */
void regions_many(unsigned index)
{
	enum { CLIENTS = 16, REGIONS_OF_A_CLIENT = 256 };

	(void)index;
	if (is_sanitized())
		attack_skip("a sanitizer in the daemon needs mappings for itself");
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct vdm_client *client = open_client();
		struct vdm_region *region;

		for (unsigned j = 0; client && j < REGIONS_OF_A_CLIENT; j++) {
			if (vdm_region_alloc(client, 4096, &region) != 0)
				break;
			attack_round();
		}
	}
	attack_ready();
	attack_pause_ms(1000000);
}

static _Atomic int raced_memfd = -1;

static void *change_seals(void *argument)
{
	(void)argument;
	for (unsigned n = 0;; n++) {
		int fd = atomic_load(&raced_memfd);

		if (fd < 0)
			continue;
		if (ftruncate(fd, n % 2 ? 0 : 65536) < 0)
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536);
		fcntl(fd, F_ADD_SEALS, n % 3 ? F_SEAL_SHRINK : F_SEAL_GROW);
	}
	return NULL;
}

/* A file that becomes shorter, emptier and better sealed while the daemon looks at it. */
void regions_seal_race(unsigned index)
{
	int session = wire_session();

	(void)index;
	for (unsigned i = 0; i < 2; i++)
		attack_thread(change_seals, NULL);
	attack_ready();
	for (;;) {
		int fd = large_memfd(65536);
		uint32_t region;

		atomic_store(&raced_memfd, fd);
		if (wire_send_region_add(session, fd, 65536, 0) < 0 ||
		    wire_receive(session, &region) < 0) {
			close(session);
			session = wire_session();
		} else if (region) {
			wire_send_region_remove(session, region);
			wire_receive(session, NULL);
			attack_round();
		}
		atomic_store(&raced_memfd, -1);
		close(fd);
	}
}
