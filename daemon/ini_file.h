/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading files of sections and settings, in the form of vdmd.conf(5): lines "[section]", "key =
 * value", comments and empty lines. The caller knows the sections and keys.
 */
#ifndef VDM_DAEMON_INI_FILE_H
#define VDM_DAEMON_INI_FILE_H

/* Long enough for a path, a line's number and a handler's sentence. */
#define INI_ERROR_TEXT 512

/*
 * Called for each line, in order. Return 0 to go on; a negative errno, with a sentence, ends the
 * reading.
 */
struct ini_handlers {
	int (*section)(void *context, const char *name, char error[INI_ERROR_TEXT]);
	int (*setting)(void *context, const char *name, const char *value,
		       char error[INI_ERROR_TEXT]);
};

/*
 * Read the file at `path`. Returns 0; -ENOENT if there is no such file; or another negative errno.
 * On failure `error` has a sentence that begins with the path and, for a bad line, its number.
 */
int ini_read(const char *path, const struct ini_handlers *handlers, void *context,
	     char error[INI_ERROR_TEXT]);

#endif
