# SPDX-License-Identifier: BSD-3-Clause
# Part of inside.sh: operations on files under the unit, by io_uring where that is allowed, and else by threads.
# shellcheck shell=bash

# file_operations USER: have them done in a directory of that user. Prints how.
file_operations() {
	runuser -u "$1" -- sh -c "cd /vdmd-test/files && VDM_SOCKET=/run/vdmd/vdmd.sock ../test_filer_counts"
}

restart_for_files() {
	systemctl daemon-reload
	forget_failures
	systemctl restart vdmd.service || fail "restart with $1"
}

by_threads() {
	local how
	restart_for_files "$1"
	how=$(file_operations alice) || fail "file operations with $1"
	[ "$how" = "$2" ] || fail "with $1: $how"
	file_operations bob >/dev/null || fail "file operations of a second user with $1"
	[ "$(logged_since "$(property ActiveEnterTimestamp)" "threads are used instead")" = 1 ] ||
		fail "with $1 the log tells other than once that threads are used"
	vdmctl status | grep -q "^files: 4 operations.*by threads: $2\$" || fail "the status: $(vdmctl status)"
	ok "file operations by threads, with $1: told once"
}

# logged_since TIME WORDS: how many lines of the log have them
logged_since() {
	journalctl --no-pager -u vdmd.service -o cat --since "$1" | grep -cF -- "$2"
}

install -d -m 0777 /vdmd-test/files || fail "a directory for files"
restart_for_files "the unit as it is"
how=$(file_operations alice) || fail "file operations under the unit"
if [ "$how" = "by io_uring" ]; then
	vdmctl status | grep -q "^files: 2 operations.*by io_uring\$" || fail "the status: $(vdmctl status)"
	pgrep -x -u vdmd vdmd-filer >/dev/null || fail "no filer runs"
	grep -q '^Seccomp:[[:space:]]*2$' "/proc/$(pgrep -x vdmd-filer)/status" || fail "the filer has no filter"
	ok "file operations by io_uring under the unit"
	until_false pgrep -x vdmd-filer || fail "the filer does not end with its user's last session"
	ok "a filer ends some time after the last session"
else
	[ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null)" != 0 ] || fail "io_uring is allowed, and not used: $how"
	echo "skipped: io_uring is forbidden on this machine"
fi

mkdir -p /run/systemd/system/vdmd.service.d
printf '[Service]\nSystemCallFilter=~io_uring_setup\n' >/run/systemd/system/vdmd.service.d/files.conf
by_threads "a unit that forbids io_uring" "Operation not permitted"
rm /run/systemd/system/vdmd.service.d/files.conf
restart_for_files "the unit as it is"
served alice || fail "a client after that"
