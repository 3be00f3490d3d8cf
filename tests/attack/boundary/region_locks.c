/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's locks of a region's file and of its mappings, held by threads that hardly ever run:
 * the daemon takes the same ones when it maps or unmaps the region.
 */
#include "attacks.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wire.h"

#define PAGE     4096
#define PAGES    16
#define MAPPINGS 30000

static int memfd;

/* Freeing a page looks for it in all mappings of the file, with the lock of the mappings. */
static void *punch_rarely(void *argument)
{
	const struct sched_param zero = {0};

	(void)argument;
	sched_setscheduler(0, SCHED_IDLE, &zero);
	for (;;) {
		/* the second half: the region is the first one, and has all of its pages */
		fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGES / 2 * PAGE,
			  PAGES / 2 * PAGE);
		fallocate(memfd, 0, PAGES / 2 * PAGE, PAGES / 2 * PAGE);
	}
	return NULL;
}

static void map_often(void)
{
	for (unsigned i = 0; i < attack_scaled(MAPPINGS); i++) {
		/* by turns: mappings of one page after the other would be joined */
		char *mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd,
				    i % 2 ? (PAGES - 1) * PAGE : (PAGES - 2) * PAGE);

		if (mapped == MAP_FAILED)
			return;
		mapped[0] = 1;
	}
}

static void add_and_remove(void)
{
	int session = wire_session();

	for (;;) {
		uint32_t region = 0;

		if (wire_send_region_add(session, memfd, PAGES / 2 * PAGE, 0) < 0 ||
		    wire_receive(session, &region) < 0) {
			close(session);
			session = wire_session();
			attack_pause_ms(1);
		} else if (region) {
			wire_send_region_remove(session, region);
			wire_receive(session, NULL);
			attack_round();
		}
	}
}

void regions_idle_locks(unsigned index)
{
	if (index > 0) {
		attack_ready();
		for (volatile unsigned long n = 0;; n++)
			;
	}
	memfd = wire_memfd(PAGES * PAGE);
	if (memfd < 0)
		attack_skip("there is no memfd");
	map_often();
	for (unsigned i = 0; i < 4; i++)
		attack_thread(punch_rarely, NULL);
	attack_ready();
	add_and_remove();
}

static char *watched;

static void *touch(void *argument)
{
	(void)argument;
	for (unsigned n = 0;; n++)
		((volatile char *)watched)[n % PAGES * PAGE]++;
	return NULL;
}

/* Add the file, take half of its pages away, and remove it. */
static void add_punch_and_remove(void)
{
	int session = wire_session();

	for (;;) {
		uint32_t region = 0;

		fallocate(memfd, 0, 0, PAGES * PAGE);
		if (wire_send_region_add(session, memfd, PAGES * PAGE, 0) < 0 ||
		    wire_receive(session, &region) < 0)
			return;
		fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGES / 2 * PAGE);
		attack_pause_ms(1);
		if (region) {
			wire_send_region_remove(session, region);
			wire_receive(session, NULL);
			attack_round();
		}
	}
}

/* Threads that wait for pages of the region's file. */
void regions_userfault(unsigned index)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = {.api = UFFD_API};

	(void)index;
	memfd = wire_memfd(PAGES * PAGE);
	watched = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	struct uffdio_register range = {.range = {(uintptr_t)watched, PAGES * PAGE},
					.mode = UFFDIO_REGISTER_MODE_MISSING};

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(uffd, UFFDIO_REGISTER, &range) < 0)
		attack_skip("userfaultfd(2) is not available");
	for (unsigned i = 0; i < 8; i++)
		attack_thread(touch, NULL);
	attack_ready();
	for (;;)
		add_punch_and_remove();
}
