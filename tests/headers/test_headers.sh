#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Compile each header by itself, and a program that uses every macro, as C and as C++ with all warnings on.
#
# Usage: CC= CXX= test_headers.sh INCLUDE_DIRECTORY GENERATED_INCLUDE_DIRECTORY
set -u

include=$1
generated=$2
here=$(dirname "$0")
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Werror)
failures=0

# compile LANGUAGE STANDARD COMPILER TEXT
compile() {
	printf '%s\n' "$4" |
		"$3" -x "$1" "-std=$2" "${warnings[@]}" -fsyntax-only "-I$include" "-I$generated" "-I$include/libvdm-miniasync" "-I$here" - && return
	echo "WRONG: as $2 with $3: $4" >&2
	failures=$((failures + 1))
}

programs=('#include "use_futures.h"' '#include <libminiasync.h>' '#include <libminiasync-vdm-dml.h>')
for header in client ring status future vdm movers runtime; do
	programs+=("#include <libvdm/$header.h>")
done
programs+=('#include <libvdm.h>')

for program in "${programs[@]}"; do
	for standard in c99 c11 c17; do
		compile c $standard "$CC" "$program"
	done
	[ -n "${CXX:-}" ] || continue
	for standard in c++11 c++17; do
		compile c++ $standard "$CXX" "$program"
		# where std::future is just `future`
		compile c++ $standard "$CXX" "#include <future>
using namespace std;
$program"
	done
done
[ -n "${CXX:-}" ] || echo "no C++ compiler: only C was tried"
exit $((failures > 0))
