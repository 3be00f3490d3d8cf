# SPDX-License-Identifier: BSD-3-Clause
# Part of inside.sh: what becomes of the service when one of its processes hangs or ends, each time beside another user
# who has to be served as before.
# shellcheck shell=bash

# load USER: keep the daemon busy, until $load is killed
load() {
	runuser -u "$1" -- vdm-bench sweep --socket /run/vdmd/vdmd.sock --sizes 4K,4K,+1 --depths 8,8,+1 \
		--milliseconds 60000 >/dev/null 2>&1 &
	load=$!
	until_true has_ring "$1" || fail "no load of $1"
}

# As the user, who may be the only one with a porter.
has_ring() {
	runuser -u "$1" vdmctl status | awk -v uid="$(id -u "$1")" '$2 == uid && $4 > 0 { found = 1 } END { exit !found }'
}

stop_load() {
	pkill -x vdm-bench
	kill "$load" 2>/dev/null
	wait "$load" 2>/dev/null
}

# The porters that wait in the kernel for the server of a file system.
hung_porters() {
	local porter
	for porter in $(pgrep -x vdmd-porter); do
		grep -qsE "request_wait_answer|fuse" "/proc/$porter/wchan" "/proc/$porter/stack" && echo "$porter"
	done
	return 0
}

hangs() {
	[ -n "$(hung_porters)" ]
}

# Have alice make her porter wait in the kernel, until release. Returns 77 where that is not possible.
hang() {
	rm -f hang_output
	VDM_SOCKET=/run/vdmd/vdmd.sock setpriv --regid=vdm --clear-groups ./hang_porter "$(id -u alice)" /vdmd-test/mount >hang_output 2>&1 &
	server=$!
	until_true grep -qs . hang_output
	if ! grep -q passed hang_output; then
		wait $server
		return $?
	fi
	until_true hangs || fail "no porter hangs"
	hung=$(hung_porters)
}

release() {
	kill -KILL $server
	wait $server 2>/dev/null
	until_false kill -0 "$hung" || fail "the porter $hung does not end when it can"
}

# within_stop_time COMMAND...: systemd's limit for this unit, twice. Prints the milliseconds.
within_stop_time() {
	local begin
	begin=$(date +%s%N)
	timeout 10 "$@" >/dev/null 2>&1 || return 1
	echo $((($(date +%s%N) - begin) / 1000000))
}

is_left_over() {
	kill -0 "$hung" 2>/dev/null || fail "the porter $hung does not hang any more: $1"
}

forget_failures() {
	systemctl reset-failed vdmd.service 2>/dev/null # or systemd finds that it was started too often
	return 0
}

hung_porter_concerns_its_user_alone() {
	local waiting
	served bob || fail "bob"
	runuser -u alice vdmctl status >alice_output 2>&1 &
	waiting=$!
	for _ in 1 2 3; do
		served bob || fail "bob, while alice's porter hangs"
	done
	if grep -q "now:" alice_output; then
		fail "alice is served by a porter that hangs"
	fi
	kill $waiting 2>/dev/null
	wait $waiting 2>/dev/null
	is_left_over "while bob was served"
	ok "a porter of alice that hangs in the kernel: bob is served, and she is not"
}

restart_with_hung_porter() {
	local ms
	ms=$(within_stop_time systemctl restart vdmd.service) || fail "restart with a porter that hangs"
	is_left_over "at the restart"
	served bob && served alice || fail "the new daemon, beside a porter that hangs"
	ok "restart beside a porter that hangs: $ms ms"
}

stop_with_hung_porter() {
	local ms
	ms=$(within_stop_time systemctl stop vdmd.service) || fail "stop with a porter that hangs"
	[ "$(property Result)" = success ] || fail "the stop with a porter that hangs: $(property Result)"
	is_left_over "at the stop"
	served bob || fail "the daemon is not started beside a porter that hangs"
	ok "stop beside a porter that hangs: $ms ms"
}

death_with_hung_porter() {
	local pid begin
	pid=$(property MainPID)
	begin=$(date +%s%N)
	kill -KILL "$pid"
	until_true new_pid "$pid" || fail "it was not restarted beside a porter that hangs"
	ms=$((($(date +%s%N) - begin) / 1000000))
	is_left_over "at the death of the daemon"
	served bob && served alice || fail "the daemon after SIGKILL, beside a porter that hangs"
	ok "restarted after SIGKILL beside a porter that hangs: $ms ms"
}

porter_hangs() {
	local status since
	since=$(date +%s)
	hang
	status=$?
	if [ $status = 77 ]; then
		echo "skipped: a porter that hangs: $(cat hang_output)"
		return
	fi
	[ $status = 0 ] || fail "hang_porter: $(cat hang_output)"
	hung_porter_concerns_its_user_alone
	restart_with_hung_porter
	release
	hang || fail "hang_porter: $(cat hang_output)"
	stop_with_hung_porter
	release
	forget_failures
	hang || fail "hang_porter: $(cat hang_output)"
	death_with_hung_porter
	release
	forget_failures
	if journalctl --no-pager --since "@$since" -u vdmd.service -o cat | grep -E "timed out|still around"; then
		fail "systemd has waited for a porter that hangs"
	fi
}

# A new daemon without porters.
restart() {
	systemctl stop vdmd.service 2>/dev/null || fail "stop"
	until_false pgrep -x vdmd-porter || fail "porters outlive the daemon"
	systemctl start vdmd.service || fail "start"
	forget_failures
}

# The porter of the user who came first.
first_porter() {
	pgrep -o -x vdmd-porter
}

bob_sees_session_of() {
	runuser -u bob vdmctl status | grep -q "^ *[0-9]* *$(id -u "$1") "
}

porter_is_killed() {
	local bob alice pid
	restart
	pid=$(property MainPID)
	load alice
	alice=$load
	load bob
	bob=$load
	kill -KILL "$(first_porter)"
	until_false bob_sees_session_of alice || fail "alice's sessions outlive her porter"
	served alice || fail "alice, after her porter was killed"
	has_ring bob || fail "bob's ring ended with alice's porter"
	[ "$(property MainPID)" = "$pid" ] || fail "the daemon ended with a porter"
	stop_load
	kill $alice $bob 2>/dev/null
	wait $alice $bob 2>/dev/null
	ok "a porter that is killed costs its user the sessions, and nobody else"
}

# The kernel refuses it memory, while its user connects.
porter_out_of_memory() {
	local pid porter
	restart
	pid=$(property MainPID)
	load alice
	porter=$(first_porter)
	[ "$(cat "/proc/$porter/oom_score_adj")" = 500 ] || fail "porters are not what the kernel kills first"
	runuser -u vdmd -g vdm -- prlimit --pid "$porter" --data=4096:4096 || fail "prlimit"
	runuser -u alice -- python3 -c 'import socket
sessions = []
try:
    for i in range(200):
        sessions.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        sessions[i].connect("/run/vdmd/vdmd.sock")
except OSError:
    pass'
	served bob || fail "bob, while alice's porter has no memory"
	stop_load
	served alice || fail "alice, after her porter had no memory"
	[ "$(property MainPID)" = "$pid" ] || fail "the daemon ended for a porter without memory"
	ok "a porter without memory"
}

# A stand-in for one that its user has taken over: it takes no notice of the daemon's end.
porter_is_stopped() {
	local porter pid
	restart
	served alice || fail "alice"
	porter=$(first_porter)
	kill -STOP "$porter"
	pid=$(property MainPID)
	kill -KILL "$pid"
	until_true new_pid "$pid" || fail "it was not restarted"
	until_false kill -0 "$porter" || fail "a porter that is stopped outlives the daemon"
	forget_failures
	ok "a porter that takes no notice ends with the daemon"
}

spawner_is_killed() {
	local pid
	pid=$(property MainPID)
	kill -KILL "$(pgrep -x vdmd-spawner)"
	until_true new_pid "$pid" || fail "it was not restarted without its spawner"
	until_true logged "the process that starts porters has ended" || fail "the spawner's end was not logged"
	served bob && served alice || fail "the daemon after its spawner was killed"
	forget_failures
	ok "restarted after its spawner was killed"
}

stop_under_load() {
	local ms
	load alice
	# without the socket, at which the clients would have the next daemon started
	ms=$(within_stop_time systemctl stop vdmd.service vdmd.socket) || fail "stop under load"
	[ "$(property Result)" = success ] || fail "it did not end well under load: $(property Result)"
	stop_load
	until_false pgrep -x "vdmd|vdmd-spawner|vdmd-porter" || fail "processes are left: $(pgrep -l vdmd)"
	systemctl start vdmd.socket || fail "starting the socket after the stop"
	served alice || fail "a client after the stop"
	ok "stopped under load: $ms ms"
}

porter_hangs
porter_is_killed
porter_out_of_memory
porter_is_stopped
spawner_is_killed
stop_under_load
