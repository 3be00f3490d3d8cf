#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# style.sh BUILD_DIRECTORY
#
# Check what .clang-format, .clang-tidy and rooms.py ask of the C files, of which clang has made that
# build with the tests. Prints each violation, and exits with 0 only if there is none.
set -u
build=$(realpath "$1") || exit 2
cd "$(dirname "$0")"/../.. || exit 2
failed=0

mapfile -t files < <(find base client daemon engine examples include op proto tests tools \
	-name '*.[ch]' -o -name '*.cc')

echo "-- format"
clang-format --dry-run -Werror "${files[@]}" || failed=1

# clang-format does not touch comments. Strings may be longer: messages are searched for whole.
echo "-- columns"
awk '{
	gsub(/"([^"\\]|\\.)*"/, "")
	while ((tab = index($0, "\t")) > 0)
		$0 = substr($0, 1, tab - 1) substr("        ", (tab - 1) % 8 + 1) substr($0, tab + 1)
	if (length($0) > 100) {
		print FILENAME ":" FNR ": wider than 100 columns"
		found = 1
	}
} END { exit found }' "${files[@]}" || failed=1

echo "-- tidy"
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
grep -o '"file": "[^"]*\.c"' "$build"/compile_commands.json | cut -d '"' -f 4 | sort -u |
	xargs -P "$(nproc)" -n 1 clang-tidy -p "$build" --quiet >"$log" 2>&1 || failed=1
grep -vE '^[0-9]+ (warning|error)s?.* generated\.$' "$log"

echo "-- rooms"
tests/style/rooms.py . "$build" || failed=1
exit $failed
