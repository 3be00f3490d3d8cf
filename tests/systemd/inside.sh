#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# inside.sh PREFIX: in a booted system in which vdmd has just been installed, do what an operator does.
set -u
prefix=$1
export PATH=$prefix/bin:/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_PAGER=
cd /vdmd-test || exit 1

fail() {
	echo "FAILED: $1"
	exit 1
}

ok() {
	echo "ok: $1"
}

property() {
	systemctl show -p "$1" --value vdmd.service
}

# until_true COMMAND...: wait for it to succeed; it hangs if that takes $patience seconds and more
patience=300
until_true() {
	for ((i = 0; i < patience * 20; i++)); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.05
	done
	return 1
}

until_false() {
	until_true not "$@"
}

not() {
	! "$@"
}

new_pid() {
	local pid
	pid=$(property MainPID)
	[ "$pid" != 0 ] && [ "$pid" != "$1" ] && systemctl is-active --quiet vdmd.service
}

logged() {
	journalctl --no-pager -u vdmd.service -o cat | grep -qF -- "$1"
}

# served USER: connect, and have the README's program's copy made. On a busy machine the program may be faster.
served() {
	until_true sh -c "runuser -u $1 ./example | grep -q 'by vdmd'"
}

ldconfig
systemd-sysusers "$prefix"/lib/sysusers.d/vdmd.conf || fail "systemd-sysusers"
getent passwd vdmd >/dev/null && getent group vdm >/dev/null || fail "the user vdmd and the group vdm"
for user in alice bob mallory; do
	useradd --no-create-home $user || fail "useradd $user"
done
usermod -aG vdm alice && usermod -aG vdm bob || fail "usermod"

systemctl daemon-reload
systemctl enable --quiet vdmd.socket || fail "enabling the socket"
systemctl start vdmd.socket || fail "starting the socket"
[ "$(systemctl is-active vdmd.service)" = inactive ] || fail "the service waits for its first client"
[ "$(stat -c '%a %G' /run/vdmd/vdmd.sock)" = "660 vdm" ] || fail "mode and group of the socket"
ok "installed; the socket is there and the service is not running"

flags=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig:$prefix/lib/$(cc -print-multiarch 2>/dev/null)/pkgconfig \
	pkg-config --cflags --libs libvdm) || fail "pkg-config"
# shellcheck disable=SC2086
cc -o example README_example.c $flags || fail "compiling the README's program with $flags"
chmod 0755 example
served alice || fail "the README's program as alice: $(runuser -u alice ./example 2>&1)"
systemctl is-active --quiet vdmd.service || fail "the service was not started by its first client"
vdmctl status --json >status.json || fail "vdmctl status"
grep -q '"memcpy": *1[,}]' status.json || fail "the copy was not counted: $(cat status.json)"
ok "socket activation; the README's program was served as an ordinary user"

# vdmctl's own session is one of those that it shows, under a unit that hides other processes from the daemon
vdmctl status | grep -q ' vdmctl$' || fail "the client's command is not shown: $(vdmctl status)"
vdmctl status --json | grep -q '"command": "vdmctl"' || fail "the client's command is not in the JSON"

served bob || fail "the README's program as bob"
vdmctl status --json | grep -q '"memcpy": *2[,}]' || fail "the second user's copy was not counted"
if runuser -u mallory vdmctl status 2>refusal; then
	fail "mallory, who is not in the group, was let in"
fi
grep -q "group" refusal || fail "the refusal does not mention the group: $(cat refusal)"
ok "two users are served, and one who is not in the group is not"

# The ids that are subordinate to alice are alice, under the unit's protections as well.
printf 'alice:900000:65536\n' >/etc/subuid
printf '[user alice]\nsessions_per_user = 1\n' >/etc/vdmd.conf
systemctl restart vdmd.service || fail "restart with a limit for alice"
setpriv --reuid=900007 --regid=vdm --clear-groups vdmctl status >/dev/null || fail "a subordinate id was not served"
# a connection is a session, and has ten seconds to greet
runuser -u alice -- python3 -c 'import socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as session:
    session.connect("/run/vdmd/vdmd.sock")
    time.sleep(9)' &
holder=$!
until_true sh -c 'vdmctl status | grep -q "^now: 2 sessions"' || fail "alice has no session"
if setpriv --reuid=900007 --regid=vdm --clear-groups vdmctl status 2>refusal; then
	fail "an id that is subordinate to alice was served beyond her limit"
fi
grep -q "user $(id -u alice) may have 1 sessions .*\[user alice\]" refusal ||
	fail "the refusal does not name alice and the limit: $(cat refusal)"
pkill -P $holder
wait $holder 2>/dev/null
rm /etc/vdmd.conf
systemctl restart vdmd.service || fail "restart without a limit for alice"
ok "a subordinate user id is its owner"

pid=$(property MainPID)
[ "$(property NRestarts)" = 0 ] || fail "it was restarted before anything happened"
[ "$(stat -c %U /proc/"$pid")" = vdmd ] || fail "it does not run as vdmd"
grep -q '^CapEff:[[:space:]]*0*$' /proc/"$pid"/status || fail "it has capabilities"
if logged "no userfaultfd"; then
	fail "its system call filter keeps it from userfaultfd(2)"
fi
systemctl reload vdmd.service || fail "reload"
until_true logged "configuration reloaded" || fail "the reload was not logged"
printf '[vdmd]\nspin_us = 20\nno_such_key = 1\n' >/etc/vdmd.conf
if systemctl reload vdmd.service 2>/dev/null; then
	fail "the reload of a bad configuration succeeded"
fi
until_true logged "/etc/vdmd.conf:3: " || fail "the mistake in the configuration was not logged"
rm /etc/vdmd.conf
systemctl reload vdmd.service || fail "reload of the corrected configuration"
[ "$(property MainPID)" = "$pid" ] && systemctl is-active --quiet vdmd.service ||
	fail "it did not outlive the reloads"
runuser -u alice ./example >/dev/null || fail "a client after the reloads"
journalctl --no-pager -u vdmd.service -o verbose | grep -q 'PRIORITY=3' || fail "priorities in the journal"
ok "reload; one of a file with a mistake fails, names the mistake and does no harm"

# A mistake at the start: the daemon tells clients, for longer than any of systemd's limits counts,
# and the socket stays.
printf '[vdmd]\nno_such_key = 1\n' >/etc/vdmd.conf
systemctl stop vdmd.service || fail "stop"
begin=$(date +%s) attempts=0
while [ "$(date +%s)" -lt $((begin + 12)) ]; do
	if runuser -u alice vdmctl status >/dev/null 2>refusal; then
		fail "a daemon with a bad configuration serves"
	fi
	grep -q "configuration" refusal || fail "attempt $attempts: the refusal does not mention the configuration: $(cat refusal)"
	attempts=$((attempts + 1))
	sleep 0.02
done
systemctl is-active --quiet vdmd.socket || fail "the socket is $(systemctl is-active vdmd.socket) after $attempts attempts"
starts=$(journalctl --no-pager -u vdmd.service -o cat | grep -c "vdmd.conf:2: there is no key")
seconds=$(($(date +%s) - begin))
[ "$starts" -le $((seconds / 5 + 2)) ] || fail "it was started $starts times in $seconds seconds"
if ! runuser -u alice ./example >output || ! grep -q "by the program itself" output; then
	fail "a program does its work itself: $(cat output)"
fi
systemctl status vdmd.service | grep -q "/etc/vdmd.conf:2: " || fail "systemctl status does not tell what is wrong"
rm /etc/vdmd.conf
systemctl restart vdmd.service || fail "restart with the corrected configuration"
runuser -u alice vdmctl status >/dev/null || fail "a client after the correction"
pid=$(property MainPID)
ok "a mistake in the configuration at the start: $attempts clients were told, in $starts starts, and the socket stayed"

kill -KILL "$pid"
until_true new_pid "$pid" || fail "it was not restarted after SIGKILL"
runuser -u alice ./example >/dev/null || fail "a client after the restart"
ok "restarted after SIGKILL"

. ./processes.sh
. ./files.sh
. ./restarts.sh

mkdir -p /run/systemd/system/vdmd.service.d
printf '[Service]\nWatchdogSec=5s\n' >/run/systemd/system/vdmd.service.d/test.conf
systemctl daemon-reload
systemctl restart vdmd.service || fail "restart"
pid=$(property MainPID)
sleep 12 # more than twice the watchdog's interval: it is being fed
[ "$(property MainPID)" = "$pid" ] || fail "the watchdog was not fed"
kill -STOP "$pid"
until_true new_pid "$pid" || fail "the watchdog did not notice a daemon that is stopped"
runuser -u alice ./example >/dev/null || fail "a client after the watchdog"
ok "the watchdog is fed, and fires on a stopped daemon"

# One worker alone, in the middle of its work: the rest of the daemon goes on, and must not feed the watchdog.
cc -o hold_thread hold_thread.c || fail "compiling hold_thread"
pid=$(property MainPID)
runuser -u alice -- vdm-bench sweep --socket /run/vdmd/vdmd.sock --sizes 4K,4K,+1 --depths 8,8,+1 \
	--milliseconds 60000 >/dev/null 2>&1 &
load=$!
for task in "/proc/$pid/task/"*; do
	[ "$(cat "$task/comm")" = vdm-worker-0 ] && worker=${task##*/}
done
noticed=no
for attempt in $(seq 200); do
	: >held
	./hold_thread "$worker" >held &
	holder=$!
	until_true grep -q held held || fail "the worker cannot be held (attempt $attempt)"
	# in a system call it is going to sleep or getting up, which is no reason to restart anything
	if grep -q '^-1 ' "/proc/$pid/task/$worker/syscall"; then
		patience=60 until_true new_pid "$pid" && noticed=yes
	fi
	kill $holder 2>/dev/null
	wait $holder 2>/dev/null
	[ $noticed = no ] || break
	sleep 0.1
done
pkill -x vdm-bench
kill $load 2>/dev/null
wait $load 2>/dev/null
[ $noticed = yes ] || fail "the watchdog did not notice a worker that is stopped"
runuser -u alice ./example >/dev/null || fail "a client after the worker was stopped"
ok "the watchdog fires on a stopped worker"

pid=$(property MainPID)
systemctl stop vdmd.service vdmd.socket || fail "stop"
[ ! -e /proc/"$pid" ] || fail "it is still there"
# systemd kills a daemon that does not end by itself, and the result then is "timeout"
[ "$(property Result)" = success ] || fail "it did not end well: $(property Result)"
ok "stopped"

# As the README has it, but for the build, which is not here.
systemctl start vdmd.socket || fail "starting the socket once more"
runuser -u alice vdmctl status >/dev/null || fail "a client before the end"
systemctl disable --quiet --now vdmd.socket vdmd.service || fail "systemctl disable"
cmake -DMANIFEST=install_manifest.txt -P uninstall.cmake >/dev/null || fail "uninstall"
systemctl daemon-reload
ldconfig
left=$(xargs ls -d <install_manifest.txt 2>/dev/null; find "$prefix" -name "*vdm*" -not -path "$prefix/src/*" 2>/dev/null)
[ -z "$left" ] || fail "left behind: $left"
systemctl cat vdmd.service vdmd.socket >/dev/null 2>&1 && fail "systemd still knows the units"
[ ! -e /run/vdmd/vdmd.sock ] || fail "the socket is still there"
userdel vdmd && groupdel vdm || fail "removing user and group"
ok "uninstalled"
