# SPDX-License-Identifier: BSD-3-Clause
# Part of inside.sh: clients of two users copy and verify while the daemon is restarted, killed and replaced.
# shellcheck shell=bash

# copy_meanwhile USER: in the background, until there is the file over
copy_meanwhile() {
	runuser -u "$1" -- sh -c "VDM_SOCKET=/run/vdmd/vdmd.sock ./test_recovery --until /vdmd-test/over" \
		>"recovery.$1" 2>&1 &
}

sessions_are() {
	vdmctl status | grep -q "^now: $1 sessions"
}

rm -f over
served alice || fail "before the restarts"
copy_meanwhile alice
alices=$!
copy_meanwhile bob
bobs=$!
until_true sessions_are 13 || fail "two users' six clients are not all there: $(vdmctl status)"
for round in 1 2 3 4 5 6; do
	forget_failures
	pid=$(property MainPID)
	case $round in
	1 | 2 | 3) systemctl restart vdmd.service || fail "restart $round" ;;
	4) kill -KILL "$pid" ;;
	5) # as a package's upgrade does: another program takes the place of the old one
		cp "$prefix/bin/vdmd" vdmd.new && mv vdmd.new "$prefix/bin/vdmd" || fail "replacing the program"
		systemctl restart vdmd.service || fail "restart after an upgrade"
		;;
	6) kill -ABRT "$pid" ;;
	esac
	until_true new_pid "$pid" || fail "there is no new daemon in round $round"
	until_true sessions_are 13 || fail "the clients have not come back in round $round: $(vdmctl status)"
done
touch over
wait $alices || fail "alice's clients: $(cat recovery.alice)"
wait $bobs || fail "bob's clients: $(cat recovery.bob)"
ok "six restarts under two users' clients, who noticed nothing: alice's $(tail -n 1 recovery.alice)"
