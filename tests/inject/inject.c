/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wrappers. They call what they wrap as a system call, or by the name that glibc has for
 * programs that replace malloc(3), because dlsym(3) allocates.
 */
#include "inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

typedef long system_call(long number, ...);

/* The C library's, whose name is taken by a wrapper. Its last argument is read as a whole word from
 * the stack. */
static system_call *kernel(void)
{
	static system_call *real;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real;
}

static struct inject_control unshared;
struct inject_control *inject_control = &unshared;
static struct inject_controls *page; /* NULL: it is not shared */

/* In a program that does not know of this: $VDM_INJECT_CONTROL is the file that its page is in. */
__attribute__((constructor)) static void share(void)
{
	const char *path = getenv("VDM_INJECT_CONTROL");
	int fd =
		path ? (int)kernel()(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)
		     : -1;

	if (fd < 0)
		return;
	if (kernel()(SYS_ftruncate, fd, sizeof *page) == 0) {
		void *mapped = (void *)kernel()(SYS_mmap, NULL, sizeof *page,
						(long)(PROT_READ | PROT_WRITE), (long)MAP_SHARED,
						(long)fd, 0l);

		if (mapped != MAP_FAILED) {
			page = mapped;
			page->of[INJECT_MAIN].blocks = unshared.blocks;
			inject_control = &page->of[INJECT_MAIN];
		}
	}
	kernel()(SYS_close, fd);
}

/* A child of the daemon takes its name. */
int prctl(int option, ...)
{
	static const char *const names[INJECT_PROCESSES] = {[INJECT_MAIN] = "vdmd",
							    [INJECT_SPAWNER] = "vdmd-spawner",
							    [INJECT_PORTER] = "vdmd-porter"};
	long a[4];
	va_list arguments;

	va_start(arguments, option);
	for (unsigned i = 0; i < 4; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	for (unsigned i = 0; page && option == PR_SET_NAME && i < INJECT_PROCESSES; i++)
		if (strcmp((const char *)a[0], names[i]) == 0)
			inject_control = &page->of[i];
	return (int)kernel()(SYS_prctl, (long)option, a[0], a[1], a[2], a[3]);
}

/*
 * This process makes a filter of system calls. libseccomp allocates memory hundreds of times for
 * that. So the filter as a whole fails, in seccomp_load().
 */
static bool makes_filter;

/* A call that may be the last one of this process. */
static void last_call(enum inject_function function)
{
	struct inject_control *control = inject_control;

	if (makes_filter || !control->armed || control->function != INJECT_DEATH ||
	    function == INJECT_MALLOC)
		return;
	if (control->count == 0 && control->then && control->then != (uint32_t)function)
		return;
	if (++control->count != control->first)
		return;
	control->hits++;
	kernel()(SYS_kill, kernel()(SYS_getpid), (long)SIGKILL);
	__builtin_trap(); /* a porter may not send signals */
}

/* Returns whether this call has to fail, with errno set. */
static bool fails(enum inject_function function)
{
	struct inject_control *control = inject_control;

	last_call(function);
	if (makes_filter || !control->armed || control->function != (uint32_t)function)
		return false;

	uint32_t call = ++control->count;

	if (call < control->first || call - control->first >= control->span)
		return false;
	control->hits++;
	if (control->then && call - control->first == control->span - 1) {
		control->function = control->then;
		control->then = INJECT_NOTHING;
		control->first = control->count + 1;
		control->span = 1;
	}
	errno = (int)control->error;
	return true;
}

static void *counted(void *block)
{
	if (block)
		inject_control->blocks++;
	return block;
}

void *malloc(size_t size)
{
	return fails(INJECT_MALLOC) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return fails(INJECT_MALLOC) ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
	if (!block)
		return malloc(size);
	if (size == 0) {
		free(block);
		return NULL;
	}
	return fails(INJECT_MALLOC) ? NULL : __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size)
{
	return fails(INJECT_MALLOC) ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
	void *memory = memalign(alignment, size);

	if (!memory)
		return ENOMEM;
	*block = memory;
	return 0;
}

void free(void *block)
{
	if (block)
		inject_control->blocks--;
	__libc_free(block);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return fails(INJECT_MMAP) ? MAP_FAILED
				  : (void *)kernel()(SYS_mmap, address, length, (long)protection,
						     (long)flags, (long)fd, (long)offset);
}

int munmap(void *address, size_t length)
{
	last_call(INJECT_MUNMAP);
	return (int)kernel()(SYS_munmap, address, length);
}

int close(int fd)
{
	last_call(INJECT_CLOSE);
	return (int)kernel()(SYS_close, (long)fd);
}

int epoll_wait(int epoll_fd, struct epoll_event *events, int most, int timeout)
{
	last_call(INJECT_EPOLL_WAIT);
	return (int)kernel()(SYS_epoll_pwait, (long)epoll_fd, events, (long)most, (long)timeout,
			     NULL, 0l);
}

int mprotect(void *address, size_t length, int protection)
{
	return fails(INJECT_MPROTECT) ? -1
				      : (int)kernel()(SYS_mprotect, address, length, protection);
}

int memfd_create(const char *name, unsigned flags)
{
	return fails(INJECT_MEMFD_CREATE) ? -1 : (int)kernel()(SYS_memfd_create, name, flags);
}

int ftruncate(int fd, off_t length)
{
	return fails(INJECT_FTRUNCATE) ? -1 : (int)kernel()(SYS_ftruncate, fd, length);
}

int open(const char *path, int flags, ...)
{
	va_list arguments;

	va_start(arguments, flags);
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;

	va_end(arguments);
	return fails(INJECT_OPEN) ? -1 : (int)kernel()(SYS_openat, AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
	va_list arguments;

	va_start(arguments, flags);
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;

	va_end(arguments);
	return fails(INJECT_OPEN) ? -1 : (int)kernel()(SYS_openat, directory, path, flags, mode);
}

int fcntl(int fd, int command, ...)
{
	va_list arguments;

	va_start(arguments, command);
	/* as glibc does: an argument of any type is passed in a register */
	void *argument = va_arg(arguments, void *);

	va_end(arguments);
	return command == F_DUPFD_CLOEXEC && fails(INJECT_DUP)
		       ? -1
		       : (int)kernel()(SYS_fcntl, fd, command, argument);
}

int eventfd(unsigned value, int flags)
{
	return fails(INJECT_EVENTFD) ? -1 : (int)kernel()(SYS_eventfd2, value, flags);
}

int timerfd_create(clockid_t clock, int flags)
{
	return fails(INJECT_TIMERFD) ? -1 : (int)kernel()(SYS_timerfd_create, clock, flags);
}

int pipe2(int ends[2], int flags)
{
	return fails(INJECT_PIPE) ? -1 : (int)kernel()(SYS_pipe2, ends, flags);
}

int epoll_create1(int flags)
{
	return fails(INJECT_EPOLL_CREATE) ? -1 : (int)kernel()(SYS_epoll_create1, flags);
}

int epoll_ctl(int epoll_fd, int command, int fd, struct epoll_event *event)
{
	return command == EPOLL_CTL_ADD && fails(INJECT_EPOLL_CTL)
		       ? -1
		       : (int)kernel()(SYS_epoll_ctl, epoll_fd, command, fd, event);
}

int socket(int domain, int type, int protocol)
{
	return fails(INJECT_SOCKET) ? -1 : (int)kernel()(SYS_socket, domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int ends[2])
{
	return fails(INJECT_SOCKETPAIR)
		       ? -1
		       : (int)kernel()(SYS_socketpair, domain, type, protocol, ends);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	return fails(INJECT_ACCEPT) ? -1 : (int)kernel()(SYS_accept4, fd, address, size, flags);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	if (level == SOL_SOCKET && option == SO_PEERPIDFD && fails(INJECT_PEER))
		return -1;
	return (int)kernel()(SYS_getsockopt, fd, level, option, value, size);
}

long syscall(long number, ...)
{
	long a[6];
	va_list arguments;

	if (number == SYS_pidfd_open && fails(INJECT_PEER))
		return -1;
	va_start(arguments, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	return kernel()(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The kernel behaves like this when it cannot install descriptors: there is room for none. */
static void lose_descriptors(struct msghdr *message)
{
	bool lost = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			kernel()(SYS_close, fd);
			lost = true;
		}
	}
	if (lost) {
		message->msg_controllen = 0;
		message->msg_flags |= MSG_CTRUNC;
	}
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	if (fails(INJECT_RECVMSG))
		return -1;

	ssize_t received = kernel()(SYS_recvmsg, fd, message, flags);

	if (received >= 0 && message->msg_controllen > 0 && fails(INJECT_RECVMSG_TRUNCATED))
		lose_descriptors(message);
	return received;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails(INJECT_SENDMSG) ||
			       (message->msg_controllen > 0 && fails(INJECT_SENDMSG_RIGHTS))
		       ? -1
		       : kernel()(SYS_sendmsg, fd, message, flags);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
	return fails(INJECT_SEND) ? -1 : kernel()(SYS_sendto, fd, bytes, length, flags, NULL, 0l);
}

scmp_filter_ctx seccomp_init(uint32_t action)
{
	scmp_filter_ctx (*real)(uint32_t);

	makes_filter = true;
	*(void **)&real = dlsym(RTLD_NEXT, "seccomp_init");
	return real(action);
}

int seccomp_load(scmp_filter_ctx filter)
{
	int (*real)(scmp_filter_ctx);

	makes_filter = false;
	if (fails(INJECT_SECCOMP_LOAD))
		return -errno;
	makes_filter = true;
	*(void **)&real = dlsym(RTLD_NEXT, "seccomp_load");
	return real(filter);
}

void seccomp_release(scmp_filter_ctx filter)
{
	void (*real)(scmp_filter_ctx);

	*(void **)&real = dlsym(RTLD_NEXT, "seccomp_release");
	real(filter);
	makes_filter = false;
}

pid_t fork(void)
{
	static pid_t (*real)(void);

	if (fails(INJECT_FORK))
		return -1;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fork");
	return real();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *),
		   void *argument)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (fails(INJECT_THREAD))
		return errno;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	return real(thread, attributes, body, argument);
}
