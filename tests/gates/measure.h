/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a stretch of code costs, as numbers that do not depend on the machine's speed or on what
 * else runs there: its instructions when the program runs under `valgrind --tool=callgrind
 * --collect-atstart=no`, and otherwise its system calls and allocations. Only the calling thread is
 * counted, and stretches do not nest.
 */
#ifndef TEST_GATES_MEASURE_H
#define TEST_GATES_MEASURE_H

#include <stdbool.h>

/* Whether this process runs under callgrind: then instructions are counted, and nothing else. */
bool measure_instructions(void);

/* NULL, or why this machine cannot count. */
const char *measure_obstacle(void);

/* Begin and end counting. A thread may do so any number of times: the counts add up. */
void measure_begin(void);
void measure_end(void);

/*
 * The stretches so far were `operations` operations: report what they cost as the figures
 * NAME.instructions (for each operation, by a dump of callgrind's), NAME.system-calls and
 * NAME.allocations (of all of them), and begin anew.
 */
void measure_report(const char *name, unsigned operations);

/*
 * Report a figure of the program's own. Of several values for one name the least counts: a busy
 * machine adds costs that do not matter here. Not under callgrind, where waiting takes long. (The
 * strings have to stay valid.)
 */
void figure(const char *name, const char *what, unsigned long value);

/* Print all figures, as lines of name and value. */
void figures_print(void);

#endif
