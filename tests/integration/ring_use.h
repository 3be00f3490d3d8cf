/* SPDX-License-Identifier: BSD-3-Clause */
/* The usual steps with a client and a ring. They end the process if something goes wrong. */
#ifndef TEST_RING_USE_H
#define TEST_RING_USE_H

#include <libvdm.h>

/* A client that offloads everything that lies in regions, and requires a daemon. */
struct vdm_client *client_opened(void);
struct vdm_client *client_opened_with(unsigned flags); /* VDM_OPTION_* */

/* Its counters now. */
struct vdm_client_counters counters_of(struct vdm_client *client);

/* A ring; zeros stand for the defaults. */
struct vdm_ring *ring_opened(struct vdm_client *client, uint32_t entries, uint32_t first_sequence);

/* `bytes` in a new region, zeroed. */
char *region_opened(struct vdm_client *client, size_t bytes, struct vdm_region **region);

/* The next entry of a ring that has one. */
struct vdm_sqe *entry(struct vdm_ring *ring);

/* Submit the one entry that was prepared, wait for it, return its result. */
int32_t run_one(struct vdm_ring *ring);

/*
 * Submit what was prepared, wait for all `count` operations in flight, whose user_data are 0 to
 * count - 1, each to come back exactly once. Stores their results by user_data, and the user_data
 * in the order in which they completed; both unless NULL.
 */
void run_all(struct vdm_ring *ring, unsigned count, int32_t *results, unsigned *order);

#endif
