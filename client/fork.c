/* SPDX-License-Identifier: BSD-3-Clause */
#include "fork.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"

static _Atomic uint32_t no_epoch; /* stays 0, which is no object's epoch */
/* Its first word is the epoch, 0 in a fresh child. */
static _Atomic(_Atomic uint32_t *) page = &no_epoch;
static _Atomic uint32_t epochs; /* that this process and its ancestors have had */

static _Atomic uint32_t *fork_page(void)
{
	/* acquire; partner: the release below */
	_Atomic uint32_t *known = atomic_load_explicit(&page, memory_order_acquire);

	if (known != &no_epoch)
		return known;

	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	_Atomic uint32_t *fresh =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fresh == MAP_FAILED)
		return NULL;
	if (madvise(fresh, size, MADV_WIPEONFORK) < 0 ||
	    !atomic_compare_exchange_strong_explicit(&page, &known, fresh, memory_order_release,
						     memory_order_acquire)) {
		/* another thread was quicker, or the kernel does not know the advice */
		munmap(fresh, size);
		return known == &no_epoch ? NULL : known;
	}
	return fresh;
}

uint32_t fork_epoch(void)
{
	_Atomic uint32_t *epoch = fork_page();

	if (!epoch)
		return 0;

	/* relaxed throughout: only the number itself is read */
	uint32_t now = atomic_load_explicit(epoch, memory_order_relaxed);

	if (now == 0) {
		uint32_t next = atomic_fetch_add_explicit(&epochs, 1, memory_order_relaxed) + 1;

		if (atomic_compare_exchange_strong_explicit(epoch, &now, next, memory_order_relaxed,
							    memory_order_relaxed))
			now = next;
	}
	return now;
}

bool fork_happened(uint32_t epoch)
{
	/* acquire; partner: fork_page() */
	_Atomic uint32_t *now = atomic_load_explicit(&page, memory_order_acquire);

	/* relaxed: only the number itself is read; partner: fork_epoch() */
	return atomic_load_explicit(now, memory_order_relaxed) != epoch;
}

int fork_error(void)
{
	return fail(-EOWNERDEAD,
		    "this object was opened by the parent of this process: open one here instead");
}
