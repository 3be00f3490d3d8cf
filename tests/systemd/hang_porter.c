/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hang_porter UID DIRECTORY: as root, mount a file system in user space at DIRECTORY, in a mount
 * namespace of its own. Then, as the user, pass a file of it to the daemon at $VDM_SOCKET in a
 * malformed message: whatever closes it waits in the kernel until this program is killed. Says
 * "passed", or exits with 77 and says why that is not possible.
 */
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attack/boundary/fuse_server.h"
#include "attack/boundary/wire.h"

static int fail(const char *what, int error)
{
	fprintf(stderr, "hang_porter: %s: %s\n", what, strerror(-error));
	return 1;
}

/* As the child of the file system's server, which goes on by itself. */
static int pass(int file)
{
	int session, result;

	if (file < 0)
		return fail("the file cannot be opened", file);
	session = wire_session();
	if (session < 0)
		return fail("no session", session);
	result = wire_send_malformed(session, &file, 1);
	if (result)
		return fail("the file cannot be passed", result);
	puts("passed");
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: hang_porter UID DIRECTORY\n");
		return 2;
	}

	const uid_t uid = (uid_t)strtoul(argv[1], NULL, 10);
	int result = fuse_server_mount(argv[2], uid);

	if (result) {
		fail("no FUSE can be mounted", result);
		return 77;
	}
	/* the group stays, which may connect */
	if (setgroups(0, NULL) < 0 || setresuid(uid, uid, uid) < 0) {
		perror("hang_porter");
		return 1;
	}
	if (pass(fuse_server_open()) != 0) {
		kill(getppid(), SIGTERM);
		return 1;
	}
	/* to close the file would hang as well */
	for (;;)
		pause();
}
