/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_OPTIONS_H
#define VDM_CLIENT_OPTIONS_H

#include "libvdm/client.h"

/* The default of options.answer_timeout_ms. */
#define ANSWER_TIMEOUT_MS 10000

/* The default of options.recovery_timeout_ms. */
#define RECOVERY_TIMEOUT_MS 10000

/* What a client uses when its options name nothing else. */
extern const struct vdm_options default_options;

/*
 * Copy the caller's options, of whatever size, over `defaults`; `given` may be NULL. Every field of
 * `complete` is valid afterwards. The socket's path stays the caller's string. Returns 0 or a
 * negative errno with its sentence.
 */
int options_complete(const struct vdm_options *given, const struct vdm_options *defaults,
		     struct vdm_options *complete);

#endif
