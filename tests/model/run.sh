#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Check the models exhaustively, and that they fail with any one barrier or rule removed. Skips (77) without spin.
set -u
models=$(cd "$(dirname "$0")" && pwd)
command -v spin >/dev/null 2>&1 || { echo "skipped: spin is not installed"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# check MODEL EXPECTED(pass|fail) [-DNAME...]: whether the verifier finds an error
check() {
	model=$1
	expected=$2
	shift 2
	spin -a "$@" "$models/$model.pml" >spin.log 2>&1 || { cat spin.log; exit 1; }
	cc -O2 -DSAFETY -DVECTORSZ=2048 -o pan pan.c >cc.log 2>&1 || { cat cc.log; exit 1; }
	./pan -m1000000 >pan.log 2>&1
	if ! grep -q '^State-vector' pan.log || grep -q 'max search depth too small' pan.log; then
		cat pan.log
		exit 1
	fi
	if grep -q 'errors: 0' pan.log; then found=pass; else found=fail; fi
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
	echo "$model, ${*:-as it is}: $found ($states states)"
	[ "$found" = "$expected" ] || { cat pan.log; echo "expected: $expected"; exit 1; }
}

check ring pass
check ring pass -DENTRIES=4 -DOPERATIONS=5
check ring pass -DASYMMETRIC
for barrier in SUBMIT RETIRE ARM SIGNAL; do
	check ring fail -DNO_${barrier}_BARRIER
done
check ring fail -DASYMMETRIC -DNO_RETIRE_BARRIER
for rule in BARRIER LOOK; do
	check ring fail -DNO_ADD_$rule
	check ring fail -DASYMMETRIC -DNO_ADD_$rule
done
check ring fail -DFIRST=7
check take_back pass
for rule in CLAIM_BARRIER TAKE_BARRIER CONTEST_RULE ORDER_RULE; do
	check take_back fail -DNO_$rule
done
check release pass
for rule in RELEASE_BARRIER SECOND_LOOK; do
	check release fail -DNO_$rule
done
check recovery pass
for rule in PROOF REAP ORDER DROP REPEAT; do
	check recovery fail -DNO_$rule
done
echo "the models hold, and each barrier and rule is needed"
