/* SPDX-License-Identifier: BSD-3-Clause */
/* The ways by which a descriptor gets to the daemon, which then has to close it. */
#ifndef VDM_TESTS_BOUNDARY_DELIVERY_H
#define VDM_TESTS_BOUNDARY_DELIVERY_H

#include <stdbool.h>

enum delivery {
	DELIVERY_MALFORMED, /* a session sends a malformed message with them */
	DELIVERY_GREETING,  /* with the greeting, and the client closes at once */
	DELIVERY_REFUSED,   /* a well-formed request for a region, with the first of them */
	DELIVERY_UNREAD,    /* behind a message that ends the session, and in empty messages */
	DELIVERY_COUNT
};

/*
 * Pass descriptors, and close them here unless `keep`: at once, so that the daemon has the last
 * ones. Returns 0; or a negative errno if there is no session to be had, and then closes none.
 */
int deliver(enum delivery way, const int *fds, unsigned count, bool keep);

#endif
