/* SPDX-License-Identifier: BSD-3-Clause */
#include "measure.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <unistd.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_DUMP_STATS_AT(name) (void)(name)
#endif

#ifndef PR_SET_SYSCALL_USER_DISPATCH /* Linux 5.11 */
#define PR_SET_SYSCALL_USER_DISPATCH  59
#define PR_SYS_DISPATCH_ON            1
#define SYSCALL_DISPATCH_FILTER_ALLOW 0
#define SYSCALL_DISPATCH_FILTER_BLOCK 1
#endif

static unsigned long system_calls, allocations; /* of the thread that is measured */
static _Thread_local bool counting;

/*
 * System calls are counted by syscall user dispatch, which sends a thread SIGSYS for each of its
 * system calls as long as `selector` says so. (Documentation/admin-guide/syscall-user-dispatch.rst
 * in the kernel)
 */
static _Thread_local volatile char selector;
static _Thread_local bool dispatched;

/* Does what glibc's does, but at a known address, so that returning from the handler is not
 * dispatched itself. */
#ifdef __x86_64__
void measure_restorer(void);
extern const char measure_restorer_end[];
__asm__(".text\n"
	".global measure_restorer, measure_restorer_end\n"
	".type measure_restorer, @function\n"
	"measure_restorer:\n"
	"	mov $15, %eax\n" /* rt_sigreturn(2) */
	"	syscall\n"
	"measure_restorer_end:\n"
	"	hlt\n");

/* As the kernel has it, rt_sigaction(2). */
struct kernel_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
#define KERNEL_SA_RESTORER 0x04000000

static void count_system_call(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	int error = errno;

	(void)number;
	selector = SYSCALL_DISPATCH_FILTER_ALLOW;
	/* Where user space cannot read the clock, reading the time is a system call. */
	if (info->si_syscall != SYS_clock_gettime)
		system_calls++;
	long result = syscall(info->si_syscall, registers[REG_RDI], registers[REG_RSI],
			      registers[REG_RDX], registers[REG_R10], registers[REG_R8],
			      registers[REG_R9]);

	registers[REG_RAX] = result < 0 ? -errno : result;
	errno = error;
	selector = SYSCALL_DISPATCH_FILTER_BLOCK;
}

static int dispatch_system_calls(void)
{
	const struct kernel_action action = {.handler = count_system_call,
					     .flags = SA_SIGINFO | KERNEL_SA_RESTORER,
					     .restorer = measure_restorer};
	uintptr_t begin = (uintptr_t)measure_restorer, end = (uintptr_t)measure_restorer_end;

	if (dispatched)
		return 0;
	if (syscall(SYS_rt_sigaction, SIGSYS, &action, NULL, sizeof action.mask) < 0 ||
	    prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, begin, end + 1 - begin,
		  &selector) < 0)
		return -errno;
	/* the engine's workers block signals, and a blocked SIGSYS would end the process */
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	dispatched = true;
	return 0;
}
#else
static int dispatch_system_calls(void)
{
	return -ENOSYS;
}
#endif

/* glibc's own names for the functions that this file replaces. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
	allocations += counting;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations += counting;
	return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	allocations += counting;
	return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	allocations += counting;
	return __libc_memalign(alignment, size);
}

bool measure_instructions(void)
{
	return RUNNING_ON_VALGRIND;
}

const char *measure_obstacle(void)
{
#ifndef __x86_64__
	return "instructions and system calls are counted on x86-64 only";
#endif
	if (!measure_instructions() && dispatch_system_calls() < 0)
		return "this kernel has no syscall user dispatch (Linux 5.11)";
	return NULL;
}

void measure_begin(void)
{
	if (measure_instructions()) {
		CALLGRIND_TOGGLE_COLLECT;
		return;
	}
	if (dispatch_system_calls() < 0)
		abort(); /* the thread that asked measure_obstacle() could */
	counting = true;
	selector = SYSCALL_DISPATCH_FILTER_BLOCK;
}

void measure_end(void)
{
	if (measure_instructions()) {
		CALLGRIND_TOGGLE_COLLECT;
		return;
	}
	selector = SYSCALL_DISPATCH_FILTER_ALLOW;
	counting = false;
}

void measure_report(const char *name, unsigned operations)
{
	if (measure_instructions()) {
		char label[64];

		snprintf(label, sizeof label, "%s.instructions %u", name, operations);
		CALLGRIND_DUMP_STATS_AT(label);
		return;
	}
	figure(name, "system-calls", system_calls);
	figure(name, "allocations", allocations);
	system_calls = allocations = 0;
}

#define MOST_FIGURES 32
static struct {
	const char *name, *what;
	unsigned long value;
} figures[MOST_FIGURES];

void figure(const char *name, const char *what, unsigned long value)
{
	unsigned i = 0;

	if (measure_instructions())
		return;
	while (i < MOST_FIGURES && figures[i].name &&
	       (strcmp(figures[i].name, name) != 0 || strcmp(figures[i].what, what) != 0))
		i++;
	if (i == MOST_FIGURES)
		abort();
	if (!figures[i].name || value < figures[i].value)
		figures[i].value = value;
	figures[i].name = name;
	figures[i].what = what;
}

void figures_print(void)
{
	for (unsigned i = 0; i < MOST_FIGURES && figures[i].name; i++)
		printf("%s.%s %lu\n", figures[i].name, figures[i].what, figures[i].value);
}
