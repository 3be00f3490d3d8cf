/* SPDX-License-Identifier: BSD-3-Clause */
/* For programs written for libminiasync, which compile unchanged. See libminiasync(7). */
#ifndef LIBMINIASYNC_H
#define LIBMINIASYNC_H

#include <stddef.h>
#include <stdio.h>

#include "libminiasync/future.h"
#include "libminiasync/vdm.h"
#include "libminiasync/data_mover_threads.h"
#include "libminiasync/data_mover_sync.h"
#include "libminiasync/runtime.h"

#endif
