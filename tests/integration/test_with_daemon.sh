#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# with_daemon.sh notices each failure of a daemon or command, and cleans up.
set -u

with_daemon=$(dirname "$0")/with_daemon.sh
TMPDIR=$(mktemp -d) || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
failures=0

# expect STATUS WHAT COMMAND...
expect() {
	wanted=$1 what=$2
	shift 2
	output=$("$@" 2>&1)
	status=$?
	if [ $status -ne "$wanted" ]; then
		echo "$what: status $status, and $wanted was due; output:"
		printf '%s\n' "$output" | sed 's/^/  /'
		failures=$((failures + 1))
	fi
	if [ "$(ls -A "$TMPDIR")" ]; then
		echo "$what: left behind: $(ls -A "$TMPDIR")"
		failures=$((failures + 1))
	fi
}

expect 0 "a command that succeeds" "$with_daemon" true
expect 0 "the socket is there" "$with_daemon" sh -c 'test -S "$VDM_SOCKET"'
expect 0 "the socket is open to all" "$with_daemon" --open \
	sh -c 'test "$(stat -c %a "$VDM_SOCKET")" = 666'
expect 0 "settings arrive" "$with_daemon" --set vdmd.spin_us=7 \
	sh -c 'grep -q "^spin_us = 7$" "$(dirname "$VDM_SOCKET")/vdmd.conf"'
expect 0 "arguments keep their spaces" "$with_daemon" -- sh -c 'test "$1" = "a b"' sh "a b"
expect 3 "a command that fails" "$with_daemon" sh -c 'exit 3'
expect 77 "a command that skips" "$with_daemon" sh -c 'exit 77'
expect 1 "a daemon that is killed" "$with_daemon" sh -c 'kill -KILL "$VDM_DAEMON_PID"'
expect 1 "a daemon that does not end" env VDM_TEST_PATIENCE=1 "$with_daemon" sh -c 'kill -STOP "$VDM_DAEMON_PID"'
expect 1 "a daemon that does not start" "$with_daemon" --set nonsense.key=1 true
expect 2 "no command" "$with_daemon"
expect 2 "an unknown option" "$with_daemon" --nonsense true
[ $failures -eq 0 ]
