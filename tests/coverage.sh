#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# coverage.sh BUILD: the part of each file's lines that the tests have reached, in a build of the
# preset "coverage" whose tests have been run. Fails below 85 % in all, and below 95 % in the files
# that check what clients send.
set -u
[ $# = 1 ] || { sed -n '3,5s/^# //p' "$0" >&2; exit 2; }
build=$(cd "$1" && pwd) || exit 1
cd "$(dirname "$0")/.." || exit 1
source=$PWD
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# A file may be in several programs: each line counts once, as reached if any of them has reached it.
cd "$work" || exit 1
for folder in proto base op engine client daemon; do
	find "$build/$folder" -name '*.gcda' | while read -r data; do
		gcov --stdout --preserve-paths "$data" 2>/dev/null
	done
done | awk -v source="$source/" '
	{
		split($0, part, ":")
		count = part[1]
		line = part[2] + 0
	}
	index($0, ":Source:") { file = substr($0, index($0, ":Source:") + 8); sub(source, "", file); next }
	line == 0 || file !~ /^(proto|base|op|engine|client|daemon)\// { next }
	count ~ /^ *-/ { next }
	{
		key = file ":" line
		if (!(key in seen)) { seen[key] = 1; lines[file]++ }
		if (count !~ /#####|=====/ && !(key in reached)) { reached[key] = 1; hits[file]++ }
	}
	END {
		for (file in lines) {
			all += lines[file]; hit += hits[file]
			printf "%5.1f %% of %4d  %s\n", 100 * hits[file] / lines[file], lines[file], file | "sort -k5"
			judge = file ~ /^(op\/operation.c|engine\/descriptor.c|engine\/memory.c|daemon\/request.c|daemon\/region.c|daemon\/memfd.c|daemon\/ring.c|proto\/packet.c)$/
			if (judge && 100 * hits[file] < 95 * lines[file]) low = low " " file
		}
		close("sort -k5")
		printf "%5.1f %% of %4d  in all\n", 100 * hit / all, all
		if (low) print "below 95 %:" low
		if (100 * hit < 85 * all) print "below 85 % in all"
		exit low != "" || 100 * hit < 85 * all
	}'
