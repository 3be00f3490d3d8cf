#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# with_subuid.sh LINE COMMAND [ARGUMENTS...]
#
# Run COMMAND where /etc/subuid has this line alone. Other processes keep theirs: that needs a mount namespace of its
# own, and so root. Exits with 77 where it cannot be done.
set -u
[ $# -ge 2 ] || {
	sed -n '3,6s/^# \{0,1\}//p' "$0" >&2
	exit 2
}
if [ "$(id -u)" != 0 ]; then
	echo "replacing /etc/subuid needs root"
	exit 77
fi
file=$(mktemp) || exit 1
trap 'rm -f "$file"' EXIT
printf '%s\n' "$1" >"$file" && chmod 0644 "$file" || exit 1
shift
if ! unshare --mount mount --bind "$file" /etc/subuid; then
	echo "/etc/subuid cannot be replaced here"
	exit 77
fi
unshare --mount sh -c 'mount --bind "$0" /etc/subuid && exec "$@"' "$file" "$@"
