# SPDX-License-Identifier: BSD-3-Clause
# Part of inside.sh: clients of two users copy and verify while the daemon is restarted, killed and replaced, and while
# it refuses them. VDM_TEST_SCALE is a percentage: 3400 makes 102 restarts of the three.
# shellcheck shell=bash

# copy_meanwhile USER: in the background, until there is the file over
copy_meanwhile() {
	runuser -u "$1" -- sh -c "VDM_SOCKET=/run/vdmd/vdmd.sock VDM_DEBUG=1 ./test_recovery --until /vdmd-test/over" \
		>"recovery.$1" 2>&1 &
}

sessions_are() {
	vdmctl status | grep -q "^now: $1 sessions"
}

# all_are_back WHEN
all_are_back() {
	until_true sessions_are 13 || fail "the clients have not come back $1: $(vdmctl status)"
}

# served_again WHEN: there is a daemon other than $pid, and all clients have come to it
served_again() {
	until_true new_pid "$pid" || fail "there is no new daemon $1"
	all_are_back "$1"
}

# replace PROGRAM: as a package's upgrade does: another program takes the place of the old one
replace() {
	forget_failures
	if ! cp "$1" vdmd.new || ! mv vdmd.new "$prefix/bin/vdmd" || ! systemctl restart vdmd.service; then
		fail "replacing the program by $1"
	fi
}

# told WORDS: as many clients as there are have said why they are not served
told() {
	[ "$(cat recovery.alice recovery.bob | grep -c "a client is not served: .*$1")" -ge 12 ]
}

# since FROM TO: microseconds between two events of the unit, which systemd notes
since() {
	echo $(($(property "$2"TimestampMonotonic) - $(property "$1"TimestampMonotonic)))
}

# The middle one of the lines of a file.
median() {
	sort -n "$1" | sed -n "$((($(wc -l <"$1") + 1) / 2))p"
}

plain_restarts() {
	local count=$((3 * ${VDM_TEST_SCALE:-100} / 100)) round
	rm -f stop_us start_us restart_us
	for ((round = 1; round <= count || round <= 3; round++)); do
		forget_failures
		pid=$(property MainPID)
		systemctl restart vdmd.service || fail "restart $round"
		since ActiveExit InactiveEnter >>stop_us
		since InactiveExit ActiveEnter >>start_us
		since ActiveExit ActiveEnter >>restart_us
		served_again "after restart $round"
	done
	ok "$((round - 1)) restarts; medians: $(median stop_us) us to stop, $(median start_us) to start, $(median restart_us) from the one's beginning to the other's end"
}

deaths() {
	local signal
	for signal in KILL ABRT; do
		forget_failures
		pid=$(property MainPID)
		kill -$signal "$pid"
		served_again "after SIG$signal"
	done
	pid=$(property MainPID)
	cp "$prefix/bin/vdmd" vdmd.same
	replace vdmd.same
	served_again "after an upgrade"
	ok "the daemon was killed, aborted and upgraded"
}

# The clients cannot talk to what is installed, until that is put right.
other_version() {
	cp "$prefix/bin/vdmd" vdmd.same
	replace vdmd_next_version
	until_true told "install libvdm and vdmd of one release" || fail "the clients are not told of the other version"
	if runuser -u alice vdmctl status 2>refusal >/dev/null; then
		fail "a daemon of another version serves"
	fi
	grep -q "install libvdm and vdmd of one release" refusal || fail "the refusal: $(cat refusal)"
	pid=$(property MainPID)
	replace vdmd.same
	served_again "after a daemon of another version"
	ok "a daemon of another version: the clients said so, and came back to the right one"
}

# What the group's members may do is decided by the socket, at each connect(2).
not_in_group() {
	chgrp root /run/vdmd/vdmd.sock
	forget_failures
	systemctl restart vdmd.service || fail "restart with a socket for another group"
	until_true told "is this user in the group" || fail "the clients are not told of the group"
	sessions_are 1 || fail "clients are served that are not in the group: $(vdmctl status)"
	chgrp vdm /run/vdmd/vdmd.sock
	all_are_back "after their group could use the socket again"
	ok "clients that are not in the socket's group any more said so, and came back when they were"
}

lower_limits() {
	printf '[limits]\nentries_per_user = 2\n' >/etc/vdmd.conf
	forget_failures
	systemctl restart vdmd.service || fail "restart with lower limits"
	all_are_back "to a daemon with lower limits"
	until_true limits_are_told || fail "the clients are not told of the limit"
	rm /etc/vdmd.conf
	forget_failures
	pid=$(property MainPID)
	systemctl restart vdmd.service || fail "restart without limits"
	served_again "after lower limits"
	until_true rings_are 24 || fail "not all rings have come back: $(vdmctl status)"
	ok "lower limits: the rings were carried on by their programs, and came back after them"
}

limits_are_told() {
	[ "$(cat recovery.alice recovery.bob | grep -c 'a ring of .* takes the local lane: .*entries_per_user')" -ge 24 ]
}

rings_are() {
	vdmctl status | grep -q "^now: .* $1 rings"
}

rm -f over
served alice || fail "before the restarts"
copy_meanwhile alice
alices=$!
copy_meanwhile bob
bobs=$!
until_true sessions_are 13 || fail "two users' six clients are not all there: $(vdmctl status)"
plain_restarts
deaths
other_version
not_in_group
lower_limits
touch over
wait $alices || fail "alice's clients: $(tail -n 30 recovery.alice)"
wait $bobs || fail "bob's clients: $(tail -n 30 recovery.bob)"
ok "two users' clients noticed nothing: alice's $(tail -n 1 recovery.alice); bob's $(tail -n 1 recovery.bob)"
