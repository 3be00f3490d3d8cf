/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIBMINIASYNC_VDM_H
#define LIBMINIASYNC_VDM_H

#include "../../libvdm/vdm.h"

#endif
