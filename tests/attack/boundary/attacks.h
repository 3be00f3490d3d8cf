/* SPDX-License-Identifier: BSD-3-Clause */
/* The bodies of all attacks, by file. */
#ifndef VDM_TESTS_BOUNDARY_ATTACKS_H
#define VDM_TESTS_BOUNDARY_ATTACKS_H

#include "attack.h"

/* locks.c, proc_locks.c */
void locks_region(unsigned index);
void locks_pidfd(unsigned index);
void locks_eventfd(unsigned index);
void locks_own_proc(unsigned index);
void locks_daemon_proc(unsigned index);

/* wait_queues.c */
void waiters_session(unsigned index);
void waiters_event(unsigned index);
void waiters_epoll(unsigned index);
void waiters_refused(unsigned index);
void waiters_doorbell(unsigned index);

/* idle_rings.c */
void idle_rings_doorbells(unsigned index);
void idle_rings_armed(unsigned index);

/* doorbell_cargo.c */
void doorbell_cargo(unsigned index);

/* slow_close.c */
void close_lingering(unsigned index);
void close_refused(unsigned index);
void close_memfd(unsigned index);
void close_inotify(unsigned index);
void close_epoll(unsigned index);
void close_locked(unsigned index);
void close_mounts(unsigned index);
void close_nested(unsigned index);
void close_surplus(unsigned index);
void close_many(unsigned index);
void close_flocks(unsigned index);
void close_dnotify(unsigned index);

/* fuse.c */
void fuse_prepare(unsigned index);
void fuse_one(unsigned index);
void fuse_many(unsigned index);
void fuse_buffers(unsigned index);

/* connecting.c */
void connect_loop(unsigned index);
void connect_greet(unsigned index);
void connect_descriptors(unsigned index);
void connect_silent(unsigned index);
void crowd_leaves(unsigned index);

/* regions.c */
void regions_huge(unsigned index);
void regions_among_hogs(unsigned index);
void regions_idle_locks(unsigned index);
void regions_many(unsigned index);
void regions_seal_race(unsigned index);
void regions_userfault(unsigned index);

/* pinning.c */
void pin_completions(unsigned index);

/* processes.c */
void never_read(unsigned index);
void stopped(unsigned index);
void handed_on(unsigned index);
void headless(unsigned index);
void sigio_group(unsigned index);
void doorbell_flags(unsigned index);

#endif
