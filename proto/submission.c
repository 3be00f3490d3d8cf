/* SPDX-License-Identifier: BSD-3-Clause */
#include "submission.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"

/* fallocate(2) can be interrupted after any part of its work; what is there stays. */
static int allocate_pages(int fd, size_t size)
{
	int result;

	do
		result = fallocate(fd, 0, 0, (off_t)size);
	while (result < 0 && errno == EINTR);
	return result;
}

int vdm_submission_make(uint32_t entries, uint32_t first_sequence, void **memory)
{
	const size_t size = vdm_submission_size(entries);
	int fd = memfd_create("vdm-submission", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *mapped = MAP_FAILED;

	if (fd < 0)
		return -errno;
	if (allocate_pages(fd, size) == 0)
		mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (mapped == MAP_FAILED)
		goto failed;
	vdm_submission_prepare(mapped, entries, first_sequence);
	if (fcntl(fd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
		goto failed;
	*memory = mapped;
	return fd;

failed:;
	int error = errno;

	if (mapped != MAP_FAILED)
		munmap(mapped, size);
	close(fd);
	return -error;
}
