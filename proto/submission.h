/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of a ring's submissions: who writes it makes it, and is charged for it. */
#ifndef VDM_PROTO_SUBMISSION_H
#define VDM_PROTO_SUBMISSION_H

#include <stdint.h>

/*
 * Make it, in a file that the daemon accepts: all of its pages allocated, and sealed (F_SEAL_SHRINK, _GROW, _SEAL and
 * _FUTURE_WRITE of fcntl(2), the last since Linux 5.1) so that they can neither be taken away again nor written through
 * another mapping than this one. Stores where it is mapped, vdm_submission_size() bytes, ready for the first lap.
 * Returns the file's descriptor, the caller's to close, or a negative errno.
 */
int vdm_submission_make(uint32_t entries, uint32_t first_sequence, void **memory);

#endif
