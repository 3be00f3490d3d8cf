#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# with_daemon.sh [--open] [--workers N] [--set SECTION.KEY=VALUE]... [--] COMMAND [ARGUMENTS...]
#
# Run COMMAND while a private vdmd serves $VDM_SOCKET (its process id is in $VDM_DAEMON_PID), and
# exit as it does; but fail if the daemon died, or does not exit with 0 after SIGTERM. One that hangs is
# killed after two minutes, or $VDM_TEST_PATIENCE seconds. Its log is shown on failure. Nothing is left behind.
#
#   --open     let every user connect
#   --workers  how many threads copy
#   --set      a line for the configuration file
#
# The daemon is $VDMD, or else bin/vdmd in the nearest folder above the current one or above COMMAND.
set -u

usage() {
	sed -n '3,12s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

# The file $2 in folder $1 or in one above it.
find_above() {
	folder=$(cd "$1" 2>/dev/null && pwd) || return 1
	while :; do
		if [ -x "$folder/$2" ]; then
			printf '%s\n' "$folder/$2"
			return 0
		fi
		[ "$folder" != / ] || return 1
		folder=$(dirname "$folder")
	done
}

open=no
workers=
settings=
while [ $# -gt 0 ]; do
	case $1 in
	--open) open=yes ;;
	--workers)
		[ $# -ge 2 ] || usage
		workers=$2
		shift
		;;
	--set)
		[ $# -ge 2 ] || usage
		case $2 in
		*.*=*) ;;
		*) usage ;;
		esac
		settings="$settings$2
"
		shift
		;;
	--)
		shift
		break
		;;
	-*) usage ;;
	*) break ;;
	esac
	shift
done
[ $# -gt 0 ] || usage

above_command=$(dirname "$(command -v "$1")")
daemon=${VDMD:-$(find_above . bin/vdmd || find_above "$above_command" bin/vdmd)}
launcher=$(find_above "$(dirname "$daemon")" tests/bin/daemon_launcher)
for program in "$daemon" "$launcher"; do
	if [ ! -x "$program" ]; then
		echo "with_daemon.sh: no vdmd and tests/bin/daemon_launcher of the same build found;" \
			"build them, or set VDMD" >&2
		exit 1
	fi
done

directory=$(mktemp -d "${TMPDIR:-/tmp}/vdmd-test.XXXXXX") || exit 1
daemon_pid=
clean_up() {
	[ -z "$daemon_pid" ] || kill -KILL "$daemon_pid" 2>/dev/null
	rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
	echo "with_daemon.sh: $1; the daemon's log:" >&2
	sed 's/^/  /' "$directory/log" >&2
	exit "${2:-1}"
}

printf '%s' "$settings" |
	sed 's/^\([^.]*\)\.\([^=]*\)=\(.*\)$/[\1]\n\2 = \3/' >"$directory/vdmd.conf"
VDM_SOCKET=$directory/vdmd.sock
export VDM_SOCKET

mkfifo "$directory/ready" || exit 1
"$launcher" "$directory/notify" "$directory/ready" "$daemon" --socket "$VDM_SOCKET" \
	--config "$directory/vdmd.conf" ${workers:+--workers "$workers"} >"$directory/log" 2>&1 &
daemon_pid=$!
if ! read -r word <"$directory/ready" || [ "$word" != ready ]; then
	fail "the daemon did not start"
fi
if [ $open = yes ]; then
	chmod 0755 "$directory" && chmod 0666 "$VDM_SOCKET" || exit 1
fi

VDM_DAEMON_PID=$daemon_pid
export VDM_DAEMON_PID
"$@"
status=$?

# Some shells have waited for it already when it has died: then its number may name another process.
if ! state=$(grep '^State:' "/proc/$daemon_pid/status" 2>/dev/null) || [ "${state#*Z}" != "$state" ]; then
	wait "$daemon_pid"
	daemon_status=$?
	daemon_pid=
	fail "the daemon died (status $daemon_status)"
fi
patience=${VDM_TEST_PATIENCE:-120}
kill -TERM "$daemon_pid"
(
	trap - EXIT
	looks=$((patience * 20))
	while [ $looks -gt 0 ]; do
		sleep 0.05
		looks=$((looks - 1))
	done
	kill -KILL "$daemon_pid"
) </dev/null >/dev/null 2>&1 &
watchdog=$!
wait "$daemon_pid"
daemon_status=$?
ended=$daemon_pid
daemon_pid=
kill -KILL "$watchdog" 2>/dev/null # a shell that has just been forked may lose other signals
wait "$watchdog" 2>/dev/null
case $daemon_status in
0) ;;
137) fail "the daemon (process $ended) did not end within $patience s of SIGTERM" ;;
*) fail "the daemon ended with status $daemon_status" ;;
esac
[ $status -eq 0 ] || [ $status -eq 77 ] || fail "the command failed with status $status" $status
exit $status
