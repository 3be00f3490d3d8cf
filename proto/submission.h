/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of a ring's submissions. The client writes it, so the client makes it and is charged
 * for it. */
#ifndef VDM_PROTO_SUBMISSION_H
#define VDM_PROTO_SUBMISSION_H

#include <stdint.h>

/*
 * Make it, in a file that the daemon accepts: all of its pages are allocated, and seals
 * (F_SEAL_SHRINK, _GROW, _SEAL and _FUTURE_WRITE of fcntl(2), the last since Linux 5.1) forbid to
 * take them away or to write them through another mapping. Stores the address of the mapping, of
 * vdm_submission_size() bytes, ready for the first lap. Returns the file's descriptor, which the
 * caller closes, or a negative errno.
 */
int vdm_submission_make(uint32_t entries, uint32_t first_sequence, void **memory);

#endif
