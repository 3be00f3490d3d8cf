/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIBMINIASYNC_FUTURE_H
#define LIBMINIASYNC_FUTURE_H

#include "../../libvdm/future.h"

#endif
