#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""test_rooms.py COMPILER: rooms.py passes a tree that keeps the rules, and finds each breach."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOMS = pathlib.Path(__file__).with_name("rooms.py")
COMPILER = sys.argv.pop()

CLEAN = {
    "include/libvdm/api.h": "int api(void);\n",
    "proto/wire.h": "struct wire { int word; };\n",
    "base/clock.h": "int clock_read(void);\n",
    "base/clock.c": '#include "clock.h"\nint clock_read(void) { return 1; }\n',
    # The door of a room with several files behind it.
    "engine/engine.h": """
struct engine;
void engine_start(struct engine *engine);
int engine_stop(struct engine *engine);
""",
    "engine/crew.h": "struct engine { int workers; };\n",
    "engine/crew.c": """#include "crew.h"
#include "engine.h"
void engine_start(struct engine *engine) { engine->workers = 1; }
""",
    "engine/stop.c": """#include "base/clock.h"
#include "crew.h"
#include "engine.h"
int engine_stop(struct engine *engine) { return engine->workers + clock_read(); }
""",
    "client/ring.c": """#include "engine/engine.h"
#include "libvdm/api.h"
#include "ring_internal.h"
int api(void) { return engine_stop(0) + ring_own(); }
int ring_own(void) { return 0; }
""",
    "client/ring_internal.h": "int ring_own(void);\n",
    "tools/tool.c": """#include <libvdm/api.h>
int tool(void);
int tool(void) { return api(); }
""",
}

WORKER = "struct worker { int steps; };\n"
WORKER_STEPS = """
int worker_steps(struct worker *worker);
int worker_steps(struct worker *worker) { return worker->steps; }
"""


class Rooms(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()

    def build(self, files):
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        commands = []
        for name in files:
            if name.endswith(".c"):
                command = (f"{COMPILER} -I{self.root} -I{self.root}/include "
                           f"-o {name.replace('/', '_')}.o -c {name}")
                subprocess.run(command.split(), cwd=self.root, check=True)
                commands.append({"directory": str(self.root), "command": command, "file": name})
        (self.root / "compile_commands.json").write_text(json.dumps(commands))

    def rooms(self):
        return subprocess.run([sys.executable, ROOMS, self.root, self.root],
                              capture_output=True, text=True)

    def check(self, changes, *lines):
        """With these files instead, the script prints just these lines."""
        self.build(CLEAN | changes)
        run = self.rooms()
        self.assertEqual((run.stdout.splitlines(), run.stderr), (list(lines), ""))
        self.assertEqual(run.returncode, 1 if lines else 0)

    def test_a_clean_tree_passes(self):
        self.check({})

    def test_an_upward_include_is_found(self):
        self.check({"base/clock.c": """#include "clock.h"
#include "proto/wire.h"
int clock_read(void) { struct wire wire = {.word = 1}; return wire.word; }
"""}, "base/clock.c:2: includes proto/wire.h: base/ may not use proto/")

    def test_an_include_in_a_comment_is_none(self):
        self.check({"base/clock.c": '/*\n#include "proto/wire.h"\n*/\n' + CLEAN["base/clock.c"]})

    def test_an_upward_symbol_is_found(self):
        self.check({"engine/crew.c": """#include "crew.h"
#include "engine.h"
int ring_own(void);
void engine_start(struct engine *engine) { engine->workers = ring_own(); }
"""}, "engine/crew.c: uses ring_own of client/ring.c: engine/ may not use client/")

    def test_a_tool_uses_public_symbols_alone(self):
        self.check({"tools/tool.c": """
int tool(void);
int ring_own(void);
int tool(void) { return ring_own(); }
"""}, "tools/tool.c: uses ring_own of client/ring.c: tools/ may not use client/")

    def test_a_circle_of_includes_is_found(self):
        self.check({"engine/lane.h": "int lane_count(struct engine *engine);\n",
                    "engine/lane.c": """#include "crew.h"
#include "lane.h"
int lane_count(struct engine *engine) { return engine->workers; }
""",
                    "engine/crew.c": """#include "crew.h"
#include "engine.h"
#include "lane.h"
void engine_start(struct engine *engine) { engine->workers = sizeof(lane_count(engine)); }
"""}, "engine/: a circle of crew, lane",
            "  engine/crew.c:3: includes engine/lane.h",
            "  engine/lane.c:1: includes engine/crew.h")

    def test_a_circle_of_symbols_is_found(self):
        self.check({"engine/crew.c": """#include "crew.h"
#include "engine.h"
void engine_start(struct engine *engine) { engine->workers = engine_stop(engine); }
"""}, "engine/: a circle of crew, stop",
            "  engine/crew.c: uses engine_stop of engine/stop.c",
            "  engine/stop.c:2: includes engine/crew.h")

    def test_an_include_without_use_is_found(self):
        self.check({"client/ring.c": CLEAN["client/ring.c"] + """
#include "proto/wire.h"
/* struct wire */
"""}, "client/ring.c:7: includes proto/wire.h and uses nothing of it")

    def test_a_name_in_a_macro_counts_where_the_macro_is_used(self):
        self.check({"client/all.h": "#define ALL(first) \\\n\tstruct wire first\n",
                    "client/ring.c": CLEAN["client/ring.c"] + """
#include "all.h"
#include "proto/wire.h"
struct all { ALL(wire); };
"""})

    def test_a_struct_that_one_module_uses_is_not_shown_to_others(self):
        self.check({"engine/crew.h": CLEAN["engine/crew.h"] + WORKER,
                    "engine/crew.c": CLEAN["engine/crew.c"] + WORKER_STEPS},
                   "engine/crew.h:2: engine/crew alone uses the members of struct worker, "
                   "which is shown to engine/stop.c")

    def test_a_member_of_another_struct_is_no_use(self):
        self.check({"engine/crew.h": CLEAN["engine/crew.h"] + WORKER.replace("steps", "workers"),
                    "engine/crew.c": CLEAN["engine/crew.c"]
                    + WORKER_STEPS.replace("->steps", "->workers")},
                   "engine/crew.h:2: engine/crew alone uses the members of struct worker, "
                   "which is shown to engine/stop.c")

    def test_a_struct_inside_another_one_is_shown_with_it(self):
        self.check({"engine/crew.h": WORKER + """
struct engine { int workers; struct worker worker; };
""",
                    "engine/crew.c": CLEAN["engine/crew.c"] + WORKER_STEPS})

    def test_a_struct_of_inline_functions_is_shown_to_their_callers(self):
        self.check({"engine/crew.h": CLEAN["engine/crew.h"] + WORKER + """
static inline int worker_steps(struct worker *worker) { return worker->steps; }
"""})

    def test_a_build_that_is_older_than_its_source_is_refused(self):
        self.build(CLEAN)
        os.utime(self.root / "base_clock.c.o", (0, 0))
        run = self.rooms()
        self.assertEqual(run.returncode, 2)
        self.assertIn("base_clock.c.o is missing or older than base/clock.c", run.stderr)

    def test_a_build_that_lacks_a_source_is_refused(self):
        self.build(CLEAN)
        (self.root / "base/late.c").touch()
        run = self.rooms()
        self.assertEqual(run.returncode, 2)
        self.assertIn("has no object of base/late.c", run.stderr)

    def test_a_folder_without_a_build_is_refused(self):
        self.build(CLEAN)
        (self.root / "compile_commands.json").unlink()
        run = self.rooms()
        self.assertEqual(run.returncode, 2)
        self.assertIn("has no compile_commands.json: build there first", run.stderr)


unittest.main()
