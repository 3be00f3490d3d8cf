/* SPDX-License-Identifier: BSD-3-Clause */
/* For programs written for libminiasync-vdm-dml: its mover is the daemon here. See
 * libminiasync(7). */
#ifndef LIBMINIASYNC_VDM_DML_H
#define LIBMINIASYNC_VDM_DML_H

#include <stddef.h>
#include <stdio.h>

#include "libminiasync-vdm-dml/data_mover_dml.h"

#endif
