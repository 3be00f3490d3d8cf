#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# verify.sh UNITS VDMD INSTALLED: systemd-analyze verify has to be silent about the units in folder UNITS, with
# the program VDMD where it will be INSTALLED.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cp "$1"/vdmd.socket "$directory"
# the program is not installed yet, nor are its manual pages
ln -s "$2" "$directory"/vdmd
sed -e "s#$3#$directory/vdmd#" -e '/^Documentation=/d' "$1"/vdmd.service >"$directory"/vdmd.service
sed -i '/^Documentation=/d' "$directory"/vdmd.socket
output=$(systemd-analyze verify "$directory"/vdmd.socket "$directory"/vdmd.service 2>&1) || true
# other units of this machine are none of our business
complaints=$(printf '%s\n' "$output" | grep vdmd || true)
[ -z "$complaints" ] || {
	printf '%s\n' "$complaints"
	exit 1
}
