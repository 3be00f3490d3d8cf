/* SPDX-License-Identifier: BSD-3-Clause */
/* libvdm: memory operations in another process's threads. See libvdm(3). */
#ifndef LIBVDM_H
#define LIBVDM_H

#include "libvdm/version.h"
#include "libvdm/client.h"
#include "libvdm/ring.h"
#include "libvdm/status.h"
#include "libvdm/future.h"
#include "libvdm/vdm.h"
#include "libvdm/movers.h"
#include "libvdm/runtime.h"

#endif
