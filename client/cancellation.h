/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pthread_cancel(3) must not end a thread that holds a lock of the library, or that has sent a
 * request and not read its answer. Public functions that do either put cancellation off until they
 * return.
 */
#ifndef VDM_CLIENT_CANCELLATION_H
#define VDM_CLIENT_CANCELLATION_H

#include <pthread.h>

static inline int cancellation_disable(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

static inline void cancellation_restore(const int *before)
{
	pthread_setcancelstate(*before, NULL);
}

/* No cancellation until the end of the enclosing block. Stands where a declaration may stand. */
#define WITHOUT_CANCELLATION                                                                       \
	__attribute__((cleanup(cancellation_restore), unused)) const int cancellation_before =     \
		cancellation_disable()

#endif
