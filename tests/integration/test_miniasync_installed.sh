#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A program of libminiasync finds what it needs in an installed prefix, by pkg-config and by CMake, as it found the
# original.
#
# Usage: test_miniasync_installed.sh BUILD_DIRECTORY COMPILER
set -eu

build=$1 compiler=$2
command -v pkg-config >/dev/null || { echo "skipped: there is no pkg-config"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/log" || { cat "$work/log"; exit 1; }
pc=$(find "$prefix" -name libminiasync.pc)
export PKG_CONFIG_PATH=${pc%/*} VDM_SOCKET=$work/none
export ASAN_OPTIONS=handle_sigbus=0 TSAN_OPTIONS=atexit_sleep_ms=0

cat >"$work/program.c" <<'END'
#include <libminiasync.h>
#include <libminiasync-vdm-dml.h>
#include <string.h>

int main(void)
{
	struct runtime *runtime = runtime_new();
	struct data_mover_sync *sync = data_mover_sync_new();
	struct data_mover_threads *threads = data_mover_threads_default();
	struct data_mover_dml *dml = data_mover_dml_new(DATA_MOVER_DML_AUTO);
	struct vdm *vdms[] = {data_mover_sync_get_vdm(sync), data_mover_threads_get_vdm(threads),
			      data_mover_dml_get_vdm(dml)};

	for (int i = 0; i < 3; i++) {
		char from[] = "text", to[sizeof from] = "";
		struct vdm_operation_future copy =
			vdm_memcpy(vdms[i], to, from, sizeof from, i == 2 ? VDM_F_MEM_DURABLE : 0);

		runtime_wait(runtime, FUTURE_AS_RUNNABLE(&copy));
		if (strcmp(to, "text") != 0)
			return 1;
	}
	data_mover_dml_delete(dml);
	data_mover_threads_delete(threads);
	data_mover_sync_delete(sync);
	runtime_delete(runtime);
	printf("copied\n"); /* without <stdio.h>, which libminiasync.h brings */
	return 0;
}
END

# By pkg-config, which names one directory with headers.
pkg-config --atleast-version=0.2.1 libminiasync
[ "$(pkg-config --cflags libminiasync | wc -w)" -eq 1 ]
sanitize=${SANITIZE:+-fsanitize=$SANITIZE}
# shellcheck disable=SC2046
"$compiler" -Wall -Wextra -Werror $sanitize "$work/program.c" -o "$work/program" \
	$(pkg-config --cflags --libs libminiasync) -Wl,-rpath,"$(pkg-config --variable=libdir libminiasync)"
"$work/program"

# By CMake: targets of the names of its libraries, and the variables that its package sets.
cat >"$work/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.3)
project(program C)
find_package(libminiasync 0.2 REQUIRED)
add_executable(by_target program.c)
target_link_libraries(by_target miniasync-vdm-dml miniasync)
add_executable(by_variables program.c)
target_include_directories(by_variables PRIVATE ${MINIASYNC_INCLUDE_DIRS})
target_link_libraries(by_variables ${MINIASYNC_LIBRARIES})
END
CFLAGS=$sanitize cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$compiler" >"$work/log" 2>&1 &&
	cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/build/by_target"
"$work/build/by_variables"
