/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon_launcher NOTIFY REPORT PROGRAM ARGUMENTS...: becomes PROGRAM, a service of sd_notify(3),
 * with a notification socket at NOTIFY. Into REPORT (a fifo) goes the line "ready" when the service
 * says that it is, or nothing if it ends before.
 */
#include <fcntl.h>
#include <stdio.h>

#include "daemon_process.h"

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: daemon_launcher NOTIFY REPORT PROGRAM ARGUMENTS...\n");
		return 2;
	}
	int report_fd = open(argv[2], O_WRONLY | O_CLOEXEC);

	if (report_fd < 0) {
		perror(argv[2]);
		return 1;
	}
	daemon_exec(argv[1], report_fd, argv + 3);
	perror(argv[3]);
	return 1;
}
