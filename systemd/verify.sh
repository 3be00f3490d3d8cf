#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# verify.sh UNITS VDMD INSTALLED: systemd-analyze verify has to be silent about the units in folder UNITS, as if the
# program VDMD were INSTALLED.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cp "$1"/vdmd.socket "$directory"
# neither the program nor its manual pages are installed yet
ln -s "$2" "$directory"/vdmd
sed -e "s#$3#$directory/vdmd#" -e '/^Documentation=/d' "$1"/vdmd.service >"$directory"/vdmd.service
sed -i '/^Documentation=/d' "$directory"/vdmd.socket
output=$(systemd-analyze verify "$directory"/vdmd.socket "$directory"/vdmd.service 2>&1) || true
# there may be complaints about other units of this machine
complaints=$(printf '%s\n' "$output" | grep vdmd || true)
[ -z "$complaints" ] || {
	printf '%s\n' "$complaints"
	exit 1
}
