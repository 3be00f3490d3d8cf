#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# plot.sh VDM_BENCH OUTPUT.svg: measure latency and bandwidth by size, through the daemon and inline, and draw them
set -eu
[ $# = 2 ] || {
	sed -n '3s/^# //p' "$0" >&2
	exit 2
}
command -v gnuplot >/dev/null || {
	echo "plot.sh: gnuplot is missing (Debian: apt-get install gnuplot-nox)" >&2
	exit 1
}
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
sizes=64,64M,*4
"$1" sweep --sizes "$sizes" --depths 1 --format csv >"$data"/one
"$1" sweep --sizes "$sizes" --depths 8 --wait peek --format csv >"$data"/warm
"$1" sweep --sizes "$sizes" --depths 8 --wait peek --cold --format csv >"$data"/cold
"$1" sweep --sizes "$sizes" --inline --format csv >"$data"/inline
"$1" sweep --sizes "$sizes" --depths 8 --inline --format csv >"$data"/inline-warm
"$1" sweep --sizes "$sizes" --inline --cold --format csv >"$data"/inline-cold
machine=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
gnuplot <<END
set terminal svg size 900,420 font "sans,11" background "white"
set output "$2"
set datafile separator ","
set multiplot layout 1,2 title "vdmd, one worker; ${machine:-unknown CPU}, $(nproc) CPUs, Linux $(uname -r | cut -d. -f1,2)"
set logscale xy
set grid
set xtics ("64" 64, "1 KiB" 1024, "16 KiB" 16384, "256 KiB" 262144, "4 MiB" 4194304, "64 MiB" 67108864)
set xlabel "bytes of a copy"
set key below
set ylabel "microseconds, one at a time"
plot "$data/one" using 1:(\$5/1000) with linespoints title "daemon, median", \
     "$data/one" using 1:(\$6/1000) with linespoints title "daemon, 99 %", \
     "$data/inline" using 1:(1/\$4) with linespoints title "memcpy inline"
unset logscale y
set ylabel "GB/s"
plot "$data/warm" using 1:3 with linespoints title "daemon", \
     "$data/inline-warm" using 1:3 with linespoints title "memcpy", \
     "$data/cold" using 1:3 with linespoints title "daemon, memory no cache holds", \
     "$data/inline-cold" using 1:3 with linespoints title "memcpy, the same"
END
