/* SPDX-License-Identifier: BSD-3-Clause */
/* Included before everything else in the sources that tell the version of the protocol: the daemon
 * becomes one of the next version, of which all else is as it is now. */
#include "proto/control.h"

enum { vdm_next_protocol_version = VDM_PROTOCOL_VERSION + 1 };
#undef VDM_PROTOCOL_VERSION
#define VDM_PROTOCOL_VERSION vdm_next_protocol_version
