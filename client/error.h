/* SPDX-License-Identifier: BSD-3-Clause */
/* The sentence behind vdm_last_error(). */
#ifndef VDM_CLIENT_ERROR_H
#define VDM_CLIENT_ERROR_H

/* Remember why this thread's call fails, and return `error` (a negative errno) to be passed on. */
int fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tell the program's user what the library does about something, with VDM_DEBUG=1 in the
 * environment: a line to stderr. */
void debug_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
