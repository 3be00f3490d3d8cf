/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of sections and settings: lines "[section]", "key = value", comments and empty ones. The form is that of
 * vdmd.conf(5). What sections and keys there are is the caller's to say.
 */
#ifndef VDM_DAEMON_INI_FILE_H
#define VDM_DAEMON_INI_FILE_H

/* Long enough for a path, a line's number and a handler's sentence. */
#define INI_ERROR_TEXT 512

/* Called for each line, in order. 0 goes on; a negative errno, with a sentence, ends the reading. */
struct ini_handlers {
	int (*section)(void *context, const char *name, char error[INI_ERROR_TEXT]);
	int (*setting)(void *context, const char *name, const char *value, char error[INI_ERROR_TEXT]);
};

/*
 * Read the file at `path`. Returns 0; -ENOENT where there is none; or another negative errno. On failure `error` has
 * a sentence that begins with the path and, for a bad line, the number of that line.
 */
int ini_read(const char *path, const struct ini_handlers *handlers, void *context, char error[INI_ERROR_TEXT]);

#endif
