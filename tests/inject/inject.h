/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that fail when a test says so, or that are the last one of their process. The wrappers come
 * before the C library in a program that is linked with them or started with $LD_PRELOAD. The test
 * says which call fails in a page of memory that it shares with that program, which has a place for
 * each kind of process of the daemon.
 */
#ifndef TEST_INJECT_H
#define TEST_INJECT_H

#include <stdint.h>

enum inject_function {
	INJECT_NOTHING,
	INJECT_MALLOC, /* calloc, realloc and the aligned ones too */
	INJECT_MMAP,
	INJECT_MPROTECT,
	INJECT_MEMFD_CREATE,
	INJECT_FTRUNCATE,
	INJECT_OPEN, /* openat too */
	INJECT_DUP,  /* fcntl(F_DUPFD_CLOEXEC) */
	INJECT_EVENTFD,
	INJECT_TIMERFD,
	INJECT_PIPE,
	INJECT_EPOLL_CREATE,
	INJECT_EPOLL_CTL, /* to add; to change and to delete need nothing */
	INJECT_SOCKET,
	INJECT_SOCKETPAIR,
	INJECT_ACCEPT,
	INJECT_PEER, /* the descriptor for the other end's process, two ways of getting it */
	INJECT_RECVMSG,
	INJECT_RECVMSG_TRUNCATED, /* a message with descriptors arrives without them, MSG_CTRUNC */
	INJECT_SENDMSG,
	INJECT_SENDMSG_RIGHTS, /* of a message with descriptors */
	INJECT_SEND,
	INJECT_FORK,
	INJECT_SECCOMP_LOAD,
	INJECT_THREAD, /* pthread_create */
	INJECT_CLOSE,  /* this and the next two never fail */
	INJECT_MUNMAP,
	INJECT_EPOLL_WAIT,
	INJECT_DEATH, /* any of these but malloc: the process ends at its `first` call */
	INJECT_FUNCTIONS
};

/* Processes of a daemon: the program itself, and its children by the names that they take. */
enum inject_process { INJECT_MAIN, INJECT_SPAWNER, INJECT_PORTER, INJECT_PROCESSES };

/* All accesses are atomic: several threads of one process, and the test in another, write to it. */
struct inject_control {
	_Atomic uint32_t armed;
	_Atomic uint32_t function; /* enum inject_function */
	_Atomic uint32_t error;    /* errno that it fails with */
	_Atomic uint32_t first;    /* call that fails, from 1 */
	_Atomic uint32_t span;     /* so many in a row do */
	/* function that fails once thereafter, or nothing; INJECT_DEATH: calls are counted from the
	 * first one of this function */
	_Atomic uint32_t then;
	_Atomic uint32_t count; /* of calls while armed */
	_Atomic uint32_t hits;  /* of them, failed */
	_Atomic int64_t blocks; /* of memory allocated and not freed, always counted */
};

/* The page. */
struct inject_controls {
	struct inject_control of[INJECT_PROCESSES];
};

/* What this process obeys. Never NULL; a test may store its own here. */
extern struct inject_control *inject_control;

#endif
