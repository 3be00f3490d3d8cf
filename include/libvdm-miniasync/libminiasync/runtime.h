/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIBMINIASYNC_RUNTIME_H
#define LIBMINIASYNC_RUNTIME_H

#include "../../libvdm/runtime.h"

#endif
