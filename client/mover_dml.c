/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's mover under the names of libminiasync-vdm-dml, whose programs expect
 * VDM_F_MEM_DURABLE to work. */
#include <errno.h>

#include "error.h"
#include "libvdm-miniasync/libminiasync-vdm-dml.h"
#include "libvdm/movers.h"
#include "mover.h"
#include "write_back.h"

struct data_mover_dml *data_mover_dml_new(enum data_mover_dml_type type)
{
	if (type > DATA_MOVER_DML_AUTO) {
		fail(-EINVAL, "there is no kind %d of this mover", (int)type);
		return NULL;
	}

	struct data_mover_daemon *mover = data_mover_daemon_default();

	if (!mover)
		return NULL;

	struct mover *base = (struct mover *)data_mover_daemon_get_vdm(mover);

	base->writes_back = can_write_back();
	if (!base->writes_back)
		base->vdm.capabilities &= ~VDM_F_MEM_DURABLE;
	return (struct data_mover_dml *)mover;
}

struct vdm *data_mover_dml_get_vdm(struct data_mover_dml *mover)
{
	return data_mover_daemon_get_vdm((struct data_mover_daemon *)mover);
}

void data_mover_dml_delete(struct data_mover_dml *mover)
{
	data_mover_daemon_delete((struct data_mover_daemon *)mover);
}
