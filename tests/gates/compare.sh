#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# compare.sh [--slack PERCENT] BUDGETS NAME COMMAND...: run COMMAND, print what it measured beside
# the budgets of the section [NAME], and fail if a figure is above its budget, or missing.
# Instructions may be PERCENT above.
#
# The word "valgrind" in COMMAND stands for valgrind with the options that a program of measure.c
# needs. The figures then are instructions. Skips (77) where they cannot be counted, and says why.
set -u
slack=0
if [ "$1" = --slack ]; then
	slack=$2
	shift 2
fi
budgets=$1 name=$2
shift 2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

command=()
for word; do
	if [ "$word" = valgrind ]; then
		command -v valgrind >/dev/null || { echo "skipped: valgrind is not installed"; exit 77; }
		command+=(valgrind -q --fair-sched=yes --tool=callgrind --collect-atstart=no "--callgrind-out-file=$work/callgrind")
	else
		command+=("$word")
	fi
done
"${command[@]}" >"$work/output"
status=$?
if [ $status != 0 ]; then
	cat "$work/output"
	exit $status
fi

# One file for each dump; the text that the program gave it has the number of operations.
for dump in "$work"/callgrind.*; do
	[ -e "$dump" ] && awk '
		/^desc: Trigger: Client Request: / { figure = $(NF - 1); operations = $NF }
		/^(summary|totals): / { instructions = $2 }
		END { if (operations) printf "%s %.1f\n", figure, instructions / operations }' "$dump"
done >>"$work/output"

awk -v name="$name" -v slack="$slack" '
	FNR == NR && /^\[/ { section = $1; next }
	FNR == NR && section == "[" name "]" && $1 !~ /^#/ && NF >= 2 {
		order[++count] = $1
		budget[$1] = $1 ~ /\.instructions$/ ? $2 * (100 + slack) / 100 : $2
	}
	FNR != NR && NF == 2 { found[$1] = $2 }
	END {
		printf "%-28s %10s %10s\n", "figure", "measured", "at most"
		for (i = 1; i <= count; i++) {
			figure = order[i]
			verdict = !(figure in found) ? "MISSING" : found[figure] > budget[figure] ? "TOO MUCH" : ""
			failed += verdict != ""
			printf "%-28s %10s %10s %s\n", figure, found[figure], budget[figure], verdict
		}
		for (figure in found)
			if (!(figure in budget)) {
				printf "%-28s %10s %10s NO BUDGET\n", figure, found[figure], ""
				failed++
			}
		exit failed > 0 || count == 0
	}' "$budgets" "$work/output"
