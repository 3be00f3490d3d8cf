/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mover of data_mover_daemon_default(), which also honours VDM_F_MEM_DURABLE as far as ordinary
 * memory allows: the bytes of a complete operation have left the CPU's caches. A flush writes its
 * range back too.
 */
#ifndef LIBMINIASYNC_DATA_MOVER_DML_H
#define LIBMINIASYNC_DATA_MOVER_DML_H

#include <stdlib.h> /* which the original had from elsewhere, and its programs from it */

#include "../libminiasync.h"

#ifdef __cplusplus
extern "C" {
#endif

struct data_mover_dml;

/* There is one mover for all of them. */
enum data_mover_dml_type { DATA_MOVER_DML_SOFTWARE, DATA_MOVER_DML_HARDWARE, DATA_MOVER_DML_AUTO };

/* NULL on failure, with a sentence in vdm_last_error(). */
struct data_mover_dml *data_mover_dml_new(enum data_mover_dml_type type);
struct vdm *data_mover_dml_get_vdm(struct data_mover_dml *mover);
void data_mover_dml_delete(struct data_mover_dml *mover);

#ifdef __cplusplus
}
#endif
#endif
