/* SPDX-License-Identifier: BSD-3-Clause */
/* The trials as a table, a line each as they come; and as JSON, all of them. */
#ifndef VDM_TESTS_BOUNDARY_REPORT_H
#define VDM_TESTS_BOUNDARY_REPORT_H

#include "trial.h"
#include "verdict.h"

void report_head(const struct experience *alone);
void report_line(const struct trial *trial, const struct verdict *verdict);

void report_json(const struct experience *alone, const struct trial *trials, unsigned count);

#endif
