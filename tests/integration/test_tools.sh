#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# test_tools.sh VDMCTL VDM_BENCH: what the tools print and how they exit, with a daemon at $VDM_SOCKET.
set -u
vdmctl=$1 bench=$2
output=$(mktemp) || exit 1
trap 'rm -f "$output"' EXIT

# expect STATUS COMMAND...: run it, with its output in $output, and see how it exits
expect() {
	expected=$1
	shift
	"$@" >"$output" 2>&1
	status=$?
	if [ $status != "$expected" ]; then
		cat "$output"
		echo "$*: exit status $status, expected $expected"
		exit 1
	fi
}

has() {
	grep -q -- "$1" "$output" || {
		cat "$output"
		echo "\"$1\" is missing"
		exit 1
	}
}

is_json() {
	command -v python3 >/dev/null || return 0
	python3 -m json.tool "$output" >/dev/null || exit 1
}

for tool in "$vdmctl" "$bench"; do
	expect 0 "$tool" --help
	has Usage
	expect 0 "$tool" --version
	has '[0-9]\.[0-9]'
	expect 2 "$tool" --no-such-option
	has 'Try'
	expect 2 "$tool" no-such-command
done
expect 0 "$vdmctl" status
has 'sessions'
expect 0 "$vdmctl" status --json
is_json
has '"schema": *1'
expect 1 "$vdmctl" status --socket /nonexistent/socket
has '/nonexistent/socket'
expect 1 "$bench" --socket /nonexistent/socket
has '/nonexistent/socket'
expect 2 "$bench" sweep --sizes 0
has 'first,last'
for wait in spin sleep peek poll; do
	expect 0 "$bench" sweep --sizes '100,64K,*9' --depths '1,9,+4' --processes 2 --wait $wait --verify \
		--milliseconds 5 --format csv --socket "$VDM_SOCKET"
	[ "$(wc -l <"$output")" = 10 ] || { cat "$output"; exit 1; }
done
expect 0 "$bench" sweep --sizes 1M --cold --verify --milliseconds 20 --format json --socket "$VDM_SOCKET"
is_json
if [ "${VDM_TEST_SLOW:-0}" = 0 ]; then
	"$bench" --quick --json --socket "$VDM_SOCKET" >"$output" || exit 1
	is_json
	for key in schema pingpong_rtt_ns latency rate submit bandwidth overlap breakeven_bytes future mover wake idle \
		saturated clients; do
		has "\"$key\""
	done
fi
