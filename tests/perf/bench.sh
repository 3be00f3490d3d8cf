#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# bench.sh VDM_BENCH WITH_DAEMON FAIRNESS: the targets for speed as a table: the target, what one
# run has reached on this machine, and whether that meets it. Missing a target is no failure: it
# also depends on the machine and its load.
#
# Most targets are ratios of two figures of the same run.
set -u
bench=$1 with_daemon=$2 fairness=$3
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

[ "$(nproc)" -gt 1 ] || echo "There is one CPU only: client and worker share it, and little of this can be met."
"$bench" suite --quick >"$work/figures" || exit 1
"$with_daemon" --open --workers 1 -- "$fairness" >"$work/fairness"
case $? in
0 | 77) ;;
*) exit 1 ;;
esac
sed -n 's/.* \([0-9.]* times as long\).*/fairness \1/p' "$work/fairness" >>"$work/figures"

awk '
	function row(name, target, figure, met) {
		printf "%-58s %12s %10s  %s\n", name, target, figure, met
	}
	function at_most(name, a, b, most) { ratio(name, a, b, "<= " most, a <= most * b) }
	function at_least(name, a, b, least) { ratio(name, a, b, ">= " least, a >= least * b) }
	function ratio(name, a, b, target, met) {
		if (a == "" || b == "" || b == 0)
			row(name, target, "missing", "not met")
		else
			row(name, target, sprintf("%.2f", a / b), met ? "met" : "not met")
	}
	function field(name, i) { for (i = 1; i < NF; i++) if ($i == name) return $(i + 1); return "" }
	BEGIN { row("", "target", "figure", "") }
	NF == 1 { section = $1 }
	$1 == "pingpong_rtt_ns" { line = $2 }
	# what a ring needs: where two lines cost more than 1.5 times as much as one, that is the limit
	$1 == "pingpong_two_lines_rtt_ns" && $2 > 1.5 * line { line = $2 / 1.5 }
	section == "latency" && field("size") == 64 {
		at_most("64 bytes: median, in round trips of a cache line", field("vdm_p50_ns"), line, 1.5)
		at_most("64 bytes: 99th percentile, in the same", field("vdm_p99_ns"), line, 3)
	}
	section == "rate" && field("depth") {
		at_least("64 bytes: operations in a second, in those of a pool", field("vdm_mops"), field("pool_mops"), 8)
	}
	section == "submit" && field("batch") {
		at_most("submitting one of a batch, ns", field("vdm_ns_per_op"), 1, 10)
		at_most("submitting a future, ns", field("future_ns_per_op"), 1, 60)
	}
	section == "bandwidth" && field("size") >= 65536 * 1024 {
		at_least("cold copies of " field("size") " bytes, in GB/s of the kernel", field("vdm_gbps"), field("kernel_gbps"), 0.95)
		at_least("cold copies of " field("size") " bytes, in GB/s of memcpy", field("vdm_gbps"), field("memcpy_gbps"), 1.3)
	}
	section == "bandwidth" && field("size") <= 1024 * 1024 && field("working_set") == 2 * field("size") {
		at_least("warm copies of " field("size") " bytes, in GB/s of memcpy", field("vdm_gbps"), field("memcpy_gbps"), 0.9)
	}
	section == "overlap" && field("size") >= 262144 {
		at_least("share of a copy of " field("size") " bytes that is hidden", field("hidden"), 1, 0.9)
	}
	section == "saturated" && field("vdm_gbps") {
		at_least("all CPUs busy: GB/s, in those of copying inline", field("vdm_gbps"), field("inline_gbps"), 0.97)
	}
	section == "wake" && field("vdm_rtt_ns") {
		at_most("waking a daemon that sleeps, in round trips of a futex", field("vdm_rtt_ns"), field("futex_rtt_ns"), 1.5)
	}
	section == "idle" && field("seconds") {
		at_most("wakeups of an idle daemon", field("wakeups"), 1, 0)
		at_most("CPU time of an idle daemon, ms", 1000 * field("daemon_cpu_s"), 1, 10)
	}
	section == "clients" && field("n") == 1 { one = field("gbps") }
	section == "clients" && field("n") == 64 {
		at_least("64 clients: fairness (Jain)", field("jain"), 1, 0.97)
		at_least("64 clients: GB/s, in those of one", field("gbps"), one, 0.8)
	}
	$1 == "fairness" { at_most("4 KiB beside a greedy user: 99th percentile, in that alone", $2, 1, 3) }
	' "$work/figures"
grep '^skipped' "$work/fairness"
exit 0
