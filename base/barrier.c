/* SPDX-License-Identifier: BSD-3-Clause */
#include "barrier.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_once_t tried = PTHREAD_ONCE_INIT;
static bool asymmetric;

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static void try_it(void)
{
	/* ENOSYS where the kernel was built without it, EPERM in some sandboxes */
	asymmetric = membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
}

bool barrier_is_asymmetric(void)
{
	pthread_once(&tried, try_it);
	return asymmetric;
}

bool barrier_register(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}

bool barrier_register_own(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

void barrier_for_own_threads(void)
{
	membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

void barrier_for_all(void)
{
	if (barrier_is_asymmetric())
		membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
	else
		atomic_thread_fence(memory_order_seq_cst);
}
