#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# test_file_systems.sh PROGRAM: run PROGRAM CHECK FOLDER on real file systems, in files that are mounted as loop devices,
# in a mount namespace of their own. Skipped without root, and where the kernel has none.
set -u

program=$1

if [ "$(id -u)" != 0 ]; then
	echo "skipped: only root can mount file systems"
	exit 77
fi
if [ -z "${VDM_TEST_MOUNTS:-}" ]; then
	exec env VDM_TEST_MOUNTS=1 unshare --mount --propagation private "$0" "$@"
fi

folder=$(mktemp -d) || exit 1
failed=0
tried=0

# at NAME SIZE MKFS...: a new file system of that size
at() {
	local name=$1 size=$2
	shift 2
	if ! command -v "$1" >/dev/null; then
		echo "$name: there is no $1"
		return 1
	fi
	mkdir -p "$folder/$name" && truncate -s "$size" "$folder/$name.image" &&
		"$@" "$folder/$name.image" >/dev/null 2>&1 &&
		mount -o loop "$folder/$name.image" "$folder/$name" && return 0
	echo "$name: cannot be made or mounted here"
	return 1
}

# runs NAME CHECK
runs() {
	tried=$((tried + 1))
	if "$program" "$2" "$folder/$1"; then
		echo "$1: $2"
	else
		echo "$1: $2: failed"
		failed=1
	fi
}

if at ext4 96M mkfs.ext4 -q -F; then
	runs ext4 bytes
	runs ext4 holes
	runs ext4 full
fi
if at xfs 320M mkfs.xfs -q; then
	runs xfs bytes
	runs xfs holes
	runs xfs shared
fi
if at btrfs 160M mkfs.btrfs -q; then
	runs btrfs bytes
	runs btrfs holes
	runs btrfs shared
fi
mkdir "$folder/tmpfs"
if mount -t tmpfs -o size=64m tmpfs "$folder/tmpfs"; then
	runs tmpfs bytes
	runs tmpfs holes
	runs tmpfs full
fi

for name in ext4 xfs btrfs tmpfs; do
	mountpoint -q "$folder/$name" && umount "$folder/$name"
done
rm -rf "$folder"
[ "$tried" -gt 0 ] || exit 77
exit $failed
