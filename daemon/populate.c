/* SPDX-License-Identifier: BSD-3-Clause */
#include "populate.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux 5.14; older C libraries do not know them. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

/*
 * Some 60 us of work each, during which other threads of the process cannot map memory. The thread
 * may also lose its CPU in it.
 */
#define MAP_PIECE   ((size_t)256 << 10)
#define UNMAP_PIECE ((size_t)4 << 20)

#define BLOCK 512 /* st_blocks of stat(2) counts these */

void populate_begin(struct populate_list *list, struct populating *pages, void *base, size_t size,
		    bool writable, int fd)
{
	*pages = (struct populating){.base = base, .size = size, .writable = writable, .fd = fd};
	TAILQ_INSERT_TAIL(list, pages, entry);
}

static void finish(struct populating *pages)
{
	close(pages->fd);
	pages->size = 0;
}

void populate_end(struct populate_list *list, struct populating *pages)
{
	if (pages->size == 0)
		return;
	TAILQ_REMOVE(list, pages, entry);
	finish(pages);
}

/* Returns whether there is more to map. */
static bool map_piece(struct populating *pages)
{
	size_t left = pages->size - pages->done, length = left < MAP_PIECE ? left : MAP_PIECE;
	struct stat status;

	/* Pages that were punched out since would be charged to this process. */
	if (fstat(pages->fd, &status) < 0 || status.st_blocks * BLOCK < status.st_size)
		return false;
	if (madvise(pages->base + pages->done, length,
		    pages->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) < 0)
		return false;
	pages->done += length;
	return pages->done < pages->size;
}

void populate_step(struct populate_list *list)
{
	struct populating *pages = TAILQ_FIRST(list);

	if (!pages)
		return;
	TAILQ_REMOVE(list, pages, entry);
	if (map_piece(pages))
		TAILQ_INSERT_TAIL(list, pages, entry);
	else
		finish(pages);
}

void unmap_in_pieces(void *base, size_t size)
{
	while (size > 0) {
		const size_t piece = size < UNMAP_PIECE ? size : UNMAP_PIECE;

		/* from the end, so that the mapping is never split in two */
		size -= piece;
		munmap((char *)base + size, piece);
	}
}
