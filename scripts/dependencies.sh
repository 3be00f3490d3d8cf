#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# dependencies.sh build|check
#
# Checks that the Debian packages for building, or for building and testing, are installed. If they
# are, it prints nothing and exits with 0. It installs what is missing if it may (as root, or
# through sudo without a password). Otherwise it prints the command that would, and exits with 1.
set -u

build="gcc libc6-dev make cmake pkg-config libsystemd-dev libinih-dev libseccomp-dev libsubid-dev liburing-dev"
check="$build g++ git libcmocka-dev clang clang-format clang-tidy spin mandoc systemd systemd-container dbus strace procps python3 valgrind e2fsprogs xfsprogs btrfs-progs"

case ${1:-} in
build) packages=$build ;;
check) packages=$check ;;
*)
	sed -n '3,7s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "This is not Debian; what is needed has these names there: $packages" >&2
	exit 0 # the configuration step says what it does not find
fi

# The package of clang's sanitizers has the version of the release's clang in its name. Prints
# nothing if neither the installed clang nor the lists of packages tell that version.
clang_runtime() {
	version=$({ dpkg-query -W -f '${Depends}\n' clang || apt-cache depends clang; } 2>/dev/null |
		sed -n 's/.*clang-\([0-9]\{1,\}\).*/\1/p' | head -n 1)
	[ -z "$version" ] || echo "libclang-rt-$version-dev"
}

# The names of those that are not installed.
missing() {
	for package in $packages $([ "$packages" = "$build" ] || clang_runtime); do
		case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
		installed) ;;
		*) printf '%s ' "$package" ;;
		esac
	done
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		sudo="sudo -n"
	else
		echo "Packages are missing. Install them with:" >&2
		echo "    sudo apt-get update && sudo apt-get install --no-install-recommends $wanted" >&2
		[ "$packages" = "$build" ] || [ -n "$(clang_runtime)" ] ||
			echo "and then run this again: which version clang has is not known before." >&2
		exit 1
	fi
fi

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
$sudo apt-get update >"$log" 2>&1 || {
	cat "$log" >&2
	echo "The lists of packages could not be brought up to date." >&2
	exit 1
}
wanted=$(missing)
echo "Installing Debian packages: $wanted" >&2
if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $wanted >"$log" 2>&1; then
	cat "$log" >&2
	echo "The packages could not be installed." >&2
	exit 1
fi
