#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# test_start.sh VDMD VDMCTL: a daemon that cannot start, or that is not there, says what is wrong and what would be right.
set -u
vdmd=$1 vdmctl=$2
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
cd "$directory" || exit 1
socket=$directory/vdmd.sock
: >empty.conf
unset VDM_SOCKET

# refuses STATUS COMMAND...: it exits with that status within a second, and leaves nothing behind; see $output
refuses() {
	local expected=$1 status
	shift
	output=$(timeout 20 "$@" 2>&1 </dev/null)
	status=$?
	[ $status = "$expected" ] || fail "exit status $status, expected $expected: $*"
	[ ! -e "$socket" ] && [ ! -e "$socket.lock" ] || fail "it left $(ls "$directory")"
}

fail() {
	printf '%s\n' "$output"
	echo "FAILED: $*"
	exit 1
}

says() {
	local word
	for word in "$@"; do
		[[ $output == *"$word"* ]] || fail "\"$word\" is missing"
	done
}

daemon=("$vdmd" --socket "$socket" --config empty.conf)
slow=${VDM_TEST_SLOW:-0}

# The loader needs some, too, and so may the program that runs the tests.
for count in 12 16 24 39; do
	refuses 1 bash -c 'ulimit -n '$count' && exec "$@"' bash "${daemon[@]}"
	says "$count descriptors" LimitNOFILE "ulimit -n" "at least 40"
done

if [ "$(id -u)" = 0 ] && [ "$slow" = 0 ] && command -v runuser >/dev/null; then
	chmod 0777 . && chmod 0644 empty.conf
	if runuser -u nobody -- "$vdmd" --version >/dev/null 2>&1; then # it may not reach the build
		refuses 1 runuser -u nobody -- bash -c 'ulimit -u 3 && exec "$@"' bash "${daemon[@]}" --workers 20
		says threads "ulimit -u" TasksMax
	fi
	chmod 0700 .
fi

refuses 2 "$vdmd" --socket "$socket" --config "$directory"
says "$directory: cannot be read" directory
refuses 1 "$vdmd" --socket "$directory/none/vdmd.sock" --config empty.conf
says "its directory does not exist"

# A reload under systemd checks the configuration like this.
printf '[vdmd]\nworkers = 1\nworker = 1\n' >bad.conf
refuses 2 "$vdmd" --config bad.conf --check-config
says "bad.conf:3: there is no key worker"
refuses 0 "$vdmd" --config empty.conf --check-config
[ -z "$output" ] || fail "a good configuration is no reason to say anything"

# No daemon listens: there is no socket, or one that a killed daemon has left.
refuses 1 "$vdmctl" status --socket "$socket"
says "$socket" "systemctl start vdmd.socket" "vdmd --socket"
"${daemon[@]}" 2>/dev/null &
killed=$!
for _ in $(seq 200); do
	[ ! -S "$socket" ] || break
	sleep 0.05
done
kill -KILL $killed
wait $killed 2>/dev/null
output=$("$vdmctl" status --socket "$socket" 2>&1)
says "$socket" "systemctl start vdmd.socket" "vdmd --socket"
echo "what cannot start says why"
