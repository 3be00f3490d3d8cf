/* SPDX-License-Identifier: BSD-3-Clause */
/* Sums of what rings have done. */
#ifndef VDM_DAEMON_TALLY_H
#define VDM_DAEMON_TALLY_H

#include "engine/engine.h"
#include "proto/status.h"

struct files_counters;

void tally_add(struct vdm_report_counters *sum, const struct vdm_report_counters *more);
/* What a filer has counted, which may be anything. */
void tally_add_files(struct vdm_report_files *sum, const struct files_counters *more);
void tally_add_engine(struct vdm_report_counters *sum, const struct engine_counters *more);
void tally_add_difference(struct vdm_report_counters *sum, const struct engine_counters *before,
			  const struct engine_counters *after);

#endif
