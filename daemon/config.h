/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration, see vdmd.conf(5). One table of keys is used to read the file, to check the
 * command line and to print `vdmd --print-config`, so that the three cannot disagree.
 */
#ifndef VDM_DAEMON_CONFIG_H
#define VDM_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CONFIG_DEFAULT_FILE "/etc/vdmd.conf"

/* Long enough for every message of config_*(). */
#define CONFIG_ERROR_TEXT 512

/* Limits. Those of a user hold for all sessions of that user together. */
struct limits {
	uint64_t sessions; /* of all users */
	uint64_t sessions_per_user;
	uint64_t rings_per_user;
	uint64_t rings_per_session;
	uint64_t entries_per_user;
	uint64_t entries_per_ring;
	uint64_t regions_per_user;
	uint64_t regions_per_session;
	uint64_t region_bytes; /* of one region */
	uint64_t mapped_bytes_per_user;
	uint64_t in_flight_bytes_per_user;
	uint64_t descriptors_per_user;
	uint64_t handshakes_per_second; /* of one user */
};

/* Bytes of a user's name that are kept for messages. */
#define CONFIG_NAME_TEXT 33

/* What a [user NAME] section says. */
struct user_config {
	uid_t uid;
	char name[CONFIG_NAME_TEXT]; /* as in the section: a name or a user id */
	uint64_t weight;
	uint64_t priority;    /* enum config_priority */
	struct limits limits; /* those that the section gives */
	uint64_t given;       /* bits of the keys that the section gives */
};

enum config_priority { CONFIG_PRIORITY_LOW, CONFIG_PRIORITY_NORMAL, CONFIG_PRIORITY_HIGH };

struct config {
	char socket[108]; /* sockaddr_un.sun_path */
	uint64_t workers; /* 0: half the CPUs */
	uint64_t spin_us;
	uint64_t pin;               /* a boolean */
	uint64_t offload_threshold; /* bytes */
	uint64_t log_level;         /* as syslog(3) */
	struct limits limits;
	struct user_config *users;
	size_t user_count;
};

/* Fill in the defaults. */
void config_defaults(struct config *config);

/* Free what it owns. */
void config_free(struct config *config);

/*
 * Read a file over what `config` has. A file that does not exist is an error only if it is
 * `required`. Returns 0, or a negative errno with a sentence (file, line, what was wrong and what
 * would be right) in `error`; then the configuration is in part the file's and is to be freed.
 */
int config_read(struct config *config, const char *path, bool required,
		char error[CONFIG_ERROR_TEXT]);

/* Set one key from text, as the file does. Returns 0 or -EINVAL with a sentence. */
int config_set(struct config *config, const char *section, const char *name, const char *value,
	       char error[CONFIG_ERROR_TEXT]);

/* Print every key with its value and meaning, in a form that config_read() reads. */
void config_print(const struct config *config, FILE *file);

/*
 * Take over from `fresh` what can change while the daemon runs; `fresh` is freed. Calls `restart`
 * with the name of each key that has changed and needs a restart.
 */
void config_apply(struct config *config, struct config *fresh,
		  void (*restart)(const char *section, const char *name));

/* The settings of a user: those of its section, and [limits] for what the section does not give. */
struct user_config config_for_user(const struct config *config, uid_t uid);

/* Whether the section of the user sets this limit. Otherwise [limits] does. */
bool config_is_users_own(const struct user_config *user, const char *limit);

#endif
