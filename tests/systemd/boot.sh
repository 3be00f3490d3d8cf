#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# boot.sh BUILD EXAMPLES PREFIX: install BUILD over a copy of this system, boot systemd there, and run inside.sh.
#
# The copy is an overlay of / in memory, so that nothing of this machine changes. Skips (77) where that is not
# possible, and says why.
set -u
build=$1 examples=$2 prefix=$3
here=$(cd "$(dirname "$0")" && pwd)

skip() {
	echo "skipped: $1"
	exit 77
}

[ "$(id -u)" = 0 ] || skip "booting a container needs root"
for program in systemd-nspawn nsenter dbus-daemon; do
	command -v $program >/dev/null || skip "$program is not installed"
done

work=$(mktemp -d /tmp/vdmd-systemd.XXXXXX) || exit 1
container=
clean_up() {
	if [ -n "$container" ]; then
		# its first process takes all others of the container with it
		pkill -KILL -P "$container"
		kill -KILL "$container" 2>/dev/null
		wait "$container" 2>/dev/null
	fi
	for _ in $(seq 600); do # until the last process of the container has gone
		umount -R "$work" 2>/dev/null && break
		mountpoint -q "$work" || break
		sleep 0.1
	done
	rmdir "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mount -t tmpfs -o mode=0755 vdmd-test "$work" || skip "mounting is not permitted"
mkdir "$work"/{upper,work,root}
root=$work/root
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" vdmd-test "$root" ||
	skip "no overlay of / can be mounted"

DESTDIR=$root cmake --install "$build" >"$work"/install.log || {
	cat "$work"/install.log
	exit 1
}
mkdir "$root"/vdmd-test || exit 1
cp "$build"/install_manifest.txt "$here"/../../cmake/uninstall.cmake "$here"/inside.sh "$here"/processes.sh "$here"/files.sh "$here"/restarts.sh "$build"/tests/bin/test_recovery "$build"/tests/bin/vdmd_next_version "$build"/tests/bin/hang_porter "$build"/tests/bin/test_filer_counts "$here"/hold_thread.c "$examples"/README_example.c "$root"/vdmd-test
# a machine of its own, and nothing that this one starts by itself
rm -f "$root"/etc/machine-id "$root"/etc/vdmd.conf
: >"$root"/etc/machine-id

fuse=
[ ! -c /dev/fuse ] || fuse=--bind=/dev/fuse
# shellcheck disable=SC2086
systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --console=pipe $fuse \
	--private-network --machine=vdmd-test systemd.unit=basic.target \
	</dev/null >"$work"/console.log 2>&1 &
container=$!

# Its first process, once its systemd answers.
leader=
for _ in $(seq 3000); do
	kill -0 $container 2>/dev/null || break
	leader=$(pgrep -P $container | head -n 1)
	[ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-active --quiet basic.target 2>/dev/null &&
		break
	leader=
	sleep 0.1
done
if [ -z "$leader" ]; then
	tail -n 30 "$work"/console.log
	if grep -qiE "operation not permitted|failed to (mount|create|clone)" "$work"/console.log; then
		skip "no container can be booted here"
	fi
	echo "the container did not boot"
	exit 1
fi

nsenter -t "$leader" -a /bin/bash /vdmd-test/inside.sh "$prefix"
status=$?
if [ $status != 0 ]; then
	nsenter -t "$leader" -a journalctl --no-pager -n 60 -u vdmd.service -u vdmd.socket
fi
exit $status
