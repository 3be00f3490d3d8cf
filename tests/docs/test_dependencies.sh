#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# test_dependencies.sh SOURCE_DIRECTORY: what scripts/dependencies.sh asks for on several systems, of which stand-ins of
# dpkg-query, apt-cache and the like speak.
set -u
script=$1/scripts/dependencies.sh
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work"/bin

fail() {
	cat "$work"/output
	echo "FAILED: $1"
	exit 1
}

# stand_in NAME: the program NAME does what the standard input says
stand_in() {
	{
		echo '#!/bin/sh'
		cat
	} >"$work/bin/$1"
	chmod +x "$work/bin/$1"
}

run() {
	PATH=$work/bin:$PATH "$script" "$@" >"$work"/output 2>&1
	status=$?
}

stand_in id <<<'echo 1000'
stand_in sudo <<<'exit 1' # asks for a password
for version in 14 19; do
	# nothing is installed, and the lists are there
	stand_in dpkg-query <<<'exit 1'
	stand_in apt-cache <<<'[ "$*" = "depends clang" ] && printf "clang\n  Depends: clang-'$version'\n  Suggests: x\n"'
	run check
	[ $status = 1 ] || fail "exit status $status without permission to install"
	grep -q "apt-get install .* libclang-rt-$version-dev" "$work"/output || fail "no runtime of clang $version is asked for"
	# clang is installed
	stand_in dpkg-query <<<'
case $* in
*Depends*" clang") echo "clang-'$version' (>= '$version'~)" ;;
*libclang-rt-*) exit 1 ;;
*) printf installed ;;
esac'
	stand_in apt-cache <<<'exit 1'
	run check
	grep -q "apt-get install --no-install-recommends libclang-rt-$version-dev *$" "$work"/output ||
		fail "the runtime of the clang that is there, $version, is missing alone"
	run build
	[ $status = 0 ] || fail "exit status $status with everything there"
done

# a new machine: there are no lists before the first apt-get update
stand_in dpkg-query <<<'exit 1'
stand_in id <<<'echo 0'
stand_in env <<<'shift; exec "$@"'
stand_in apt-get <<<'echo "$*" >>'"$work"'/asked; touch '"$work"'/lists'
stand_in apt-cache <<<'[ -e '"$work"'/lists ] && printf "clang\n  Depends: clang-17\n"'
run check
[ $status = 0 ] || fail "exit status $status as root"
grep -q "^install .* libclang-rt-17-dev" "$work"/asked || fail "asked for: $(cat "$work"/asked)"
echo "each system is asked for its own packages"
