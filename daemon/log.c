/* SPDX-License-Identifier: BSD-3-Clause */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

/* Per account: enough to see what happens, too few to hide other messages. */
#define LIMIT_MESSAGES 10

/* Of clients whose account is not known. */
static struct log_limit unknown = {.account = (uid_t)-1};

static bool to_journal;
/* relaxed: a setting, which orders nothing; partners: log_set_level(), is_wanted() */
static _Atomic int least = LOG_INFO;

void log_open(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat status;

	to_journal = stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
		     fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
		     status.st_ino == inode;
}

void log_set_level(int level)
{
	atomic_store_explicit(&least, level, memory_order_relaxed);
}

static bool is_wanted(int level)
{
	return level <= atomic_load_explicit(&least, memory_order_relaxed);
}

static const char *level_name(int level)
{
	return level <= LOG_ERR ? "error: " : level == LOG_WARNING ? "warning: " : "";
}

static void write_message(int level, const struct log_peer *peer, const char *text)
{
	if (to_journal && peer &&
	    sd_journal_send("MESSAGE=%s", text, "PRIORITY=%d", level, "VDMD_PEER_PID=%d",
			    (int)peer->pid, "VDMD_PEER_UID=%u", (unsigned)peer->uid,
			    "VDMD_PEER_COMM=%s", peer->command, NULL) == 0)
		return;
	if (to_journal && !peer &&
	    sd_journal_send("MESSAGE=%s", text, "PRIORITY=%d", level, NULL) == 0)
		return;
	fprintf(stderr, "vdmd: %s%s\n", level_name(level), text);
}

static void format_and_write(int level, const struct log_peer *peer, const char *format,
			     va_list arguments)
{
	char text[1024];
	int length = 0;

	if (peer)
		length = snprintf(text, sizeof text, "%s (process %d, user %u): ",
				  *peer->command ? peer->command : "client", (int)peer->pid,
				  (unsigned)peer->uid);
	vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
	write_message(level, peer, text);
}

void log_message(int level, const struct log_peer *peer, const char *format, ...)
{
	va_list arguments;

	if (!is_wanted(level))
		return;
	va_start(arguments, format);
	format_and_write(level, peer, format, arguments);
	va_end(arguments);
}

/*
 * Count a message. Returns whether it may be written. `*suppressed`: how many were not, if this is
 * the first one of another interval.
 */
static bool count(struct log_limit *limit, uint64_t interval, unsigned *suppressed)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all limits */
	bool may;

	pthread_mutex_lock(&lock);
	if (interval != limit->interval) {
		*suppressed = limit->suppressed;
		*limit = (struct log_limit){.account = limit->account, .interval = interval};
	}
	may = limit->logged < LIMIT_MESSAGES;
	limit->logged += may;
	limit->suppressed += !may;
	pthread_mutex_unlock(&lock);
	return may;
}

void log_limited(int level, const struct log_peer *peer, const char *format, ...)
{
	struct log_limit *limit = peer->limit ? peer->limit : &unknown;
	struct timespec now;
	va_list arguments;

	if (!is_wanted(level))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);

	unsigned suppressed = 0;
	bool may = count(limit, (uint64_t)now.tv_sec / LOG_LIMIT_SECONDS + 1, &suppressed);

	if (suppressed)
		log_message(level, NULL, "%u more messages about user %u were not logged",
			    suppressed, (unsigned)limit->account);
	if (!may)
		return;
	va_start(arguments, format);
	format_and_write(level, peer, format, arguments);
	va_end(arguments);
}
