/* SPDX-License-Identifier: BSD-3-Clause */
/* The sockets that come with a ring: its doorbell, and the one on which it is signalled. */
#ifndef VDM_TESTS_BOUNDARY_RING_SOCKETS_H
#define VDM_TESTS_BOUNDARY_RING_SOCKETS_H

#include <stdbool.h>

#include "open_files.h"

/*
 * The doorbells or the event sockets among the sockets that are open now and were not then, at most
 * `most`; all of those came with rings. Rings the doorbells. Returns how many there are.
 */
unsigned ring_sockets_doorbells(const struct open_files *before, int *doorbells, unsigned most);
unsigned ring_sockets_events(const struct open_files *before, int *events, unsigned most);

/* Ring a doorbell. Returns whether there was room for that. */
bool ring_doorbell(int doorbell);

#endif
