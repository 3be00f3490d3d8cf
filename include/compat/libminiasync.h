/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lets programs written for libminiasync compile unchanged: add the directory of this file to the include path
 * and link libvdm. Their threads movers offload to vdmd what lies in regions of vdm_client_default().
 */
#ifndef LIBMINIASYNC_H
#define LIBMINIASYNC_H

#include "../libvdm.h"

#define data_mover_threads_new     vdm_compat_threads_new
#define data_mover_threads_default vdm_compat_threads_default

#endif
