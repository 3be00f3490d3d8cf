/* SPDX-License-Identifier: BSD-3-Clause */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* nftw(3) passes no context. */
static struct files *found;
static size_t wanted;

static int larger_first(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return x->size < y->size ? 1 : -(x->size > y->size);
}

static int add(struct files *files, const char *path, uint64_t size)
{
	struct file *file = realloc(files->file, (files->count + 1) * sizeof *file);

	if (!file)
		return -1;
	files->file = file;
	file[files->count] = (struct file){.path = strdup(path), .size = size, .fd = -1};
	if (!file[files->count].path)
		return -1;
	files->count++;
	return 0;
}

static int look(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)place;
	if (kind != FTW_F || !S_ISREG(status->st_mode) || status->st_size == 0 ||
	    access(path, R_OK) < 0)
		return 0;
	if (found->count == wanted) {
		struct file *smallest = &found->file[wanted - 1];

		if ((uint64_t)status->st_size <= smallest->size)
			return 0;
		free(smallest->path);
		found->count--;
	}
	if (add(found, path, (uint64_t)status->st_size) < 0)
		return -1;
	qsort(found->file, found->count, sizeof *found->file, larger_first);
	return 0;
}

static int open_files(struct files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		struct file *file = &files->file[i];

		file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
		if (file->fd < 0) {
			fprintf(stderr, "vdm-demo: %s: %s\n", file->path, strerror(errno));
			return -1;
		}
		files->bytes += file->size;
	}
	return 0;
}

int files_largest(struct files *files, const char *directory, size_t count)
{
	found = files;
	wanted = count;
	if (nftw(directory, look, 32, FTW_PHYS) < 0 || files->count == 0) {
		fprintf(stderr, "vdm-demo: no files to copy below %s: name some\n", directory);
		return -1;
	}
	return open_files(files);
}

int files_named(struct files *files, char **paths, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct stat status;

		if (stat(paths[i], &status) < 0) {
			fprintf(stderr, "vdm-demo: %s: %s\n", paths[i], strerror(errno));
			return -1;
		}
		if (!S_ISREG(status.st_mode) || status.st_size == 0) {
			fprintf(stderr, "vdm-demo: %s: not a file with anything in it\n", paths[i]);
			return -1;
		}
		if (add(files, paths[i], (uint64_t)status.st_size) < 0) {
			fprintf(stderr, "vdm-demo: out of memory\n");
			return -1;
		}
	}
	return open_files(files);
}

int files_read(const struct files *files, uint64_t position, char *buffer, size_t size)
{
	const struct file *file = files->file;

	for (position %= files->bytes; position >= file->size; file++)
		position -= file->size;
	while (size > 0) {
		size_t length = file->size - position < size ? file->size - position : size;

		if (pread(file->fd, buffer, length, (off_t)position) != (ssize_t)length) {
			fprintf(stderr, "vdm-demo: %s cannot be read\n", file->path);
			return -1;
		}
		buffer += length;
		size -= length;
		position = 0;
		file = file + 1 < files->file + files->count ? file + 1 : files->file;
	}
	return 0;
}

void files_close(struct files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		if (files->file[i].fd >= 0)
			close(files->file[i].fd);
		free(files->file[i].path);
	}
	free(files->file);
}
