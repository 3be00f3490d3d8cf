#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Compare README and manual pages with the programs, the library and the headers that they describe.
#
# Usage: VDMD= VDMCTL= VDM_BENCH= LIBVDM= INCLUDE= CC= test_documents.sh SOURCE_DIRECTORY
set -u
export LC_ALL=C

source_dir=$1
man=$source_dir/man
failures=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

wrong() {
	echo "WRONG: $*" >&2
	failures=$((failures + 1))
}

# Lines that are in only one of two lists. only_in LIST OTHER
only_in() {
	comm -23 <(sort -u <<<"$1") <(sort -u <<<"$2") | sed '/^$/d'
}

# Options: what --help names is described in the page, and the page names no other.
check_options() {
	local program=$1 page=$man/$2 help_options described named option help

	help=$("$program" --help) || wrong "${program##*/} --help fails"
	help_options=$(grep -oE -- '--[a-z][a-z0-9-]*' <<<"$help")
	described=$(sed -nE '/^\.It /s/.*Fl Fl ([a-z0-9-]+).*/--\1/p' "$page")
	named=$(grep -oE 'Fl Fl [a-z0-9-]+' "$page" | sed 's/Fl Fl /--/')
	[ -n "$help_options" ] || wrong "${program##*/} --help names no option"
	for option in $(only_in "$help_options" "$described"); do
		wrong "$2 does not describe $option, which ${program##*/} --help names"
	done
	for option in $(only_in "$named" "$help_options"); do
		wrong "$2 has $option, which ${program##*/} --help does not name"
	done
	if command -v mandoc >/dev/null; then
		for option in $(mandoc -T ascii "$page" | sed 's/.\x08//g' | grep -oE '(^|[ |[(])-[a-z]{2,}'); do
			wrong "$2 is shown with $option, where there are long options only"
		done
	fi
	"$program" --version | grep -qE '[0-9]+\.[0-9]+\.[0-9]+' || wrong "${program##*/} --version"
	"$program" --no-such-option >/dev/null 2>&1
	[ $? -eq 2 ] || wrong "${program##*/} does not exit with 2 at a bad option, as $2 says"
}

# Every "section key default" of the page, except those that only a user's section has.
documented_keys() {
	awk '
		/^\.Ss \\&\[/ { section = $2; gsub(/\\&|\[|\]/, "", section) }
		/^\.Ss/ && !/\\&\[/ { section = "" }
		/^\.Sh/ { section = "" }
		section != "" && section != "user" && /^\.It Va / {
			sub(/ ?\)$/, ""); print section, $3, $NF
		}' "$man/vdmd.conf.5"
}

printed_keys() {
	"$VDMD" --print-config --config /dev/null |
		awk '/^\[/ { gsub(/[][]/, ""); section = $0 } / = / && !/^[;#]/ { print section, $1, $3 }'
}

accepted() {
	printf '%s\n' "$1" "$2 = $3" >"$work/vdmd.conf"
	"$VDMD" --print-config --config "$work/vdmd.conf" >/dev/null 2>&1
}

# Ranges, which the page gives as "1 to 65535": both ends are accepted, what lies beyond is not.
check_range() {
	local section=$1 key=$2 least=$3 most=$4 below beyond

	below=$((${least%[KMGT]} - 1)) beyond=$((${most%[KMGT]} + 1))
	[[ $most == *[KMGT] ]] && beyond+=${most: -1}
	[[ $least == *[KMGT] ]] && below+=${least: -1}
	accepted "$section" "$key" "$least" || wrong "vdmd.conf.5: $key = $least is refused"
	accepted "$section" "$key" "$most" || wrong "vdmd.conf.5: $key = $most is refused"
	accepted "$section" "$key" "$below" && wrong "vdmd.conf.5: $key = $below is accepted"
	accepted "$section" "$key" "$beyond" && wrong "vdmd.conf.5: $key = $beyond is accepted"
}

check_configuration() {
	local difference printed section key least most ranges=0

	printed=$(printed_keys)
	[ -n "$printed" ] || wrong "vdmd --print-config prints no key"
	while read -r difference; do
		[ -z "$difference" ] || wrong "vdmd.conf.5 lacks or misstates: $difference"
	done < <(only_in "$printed" "$(documented_keys)")
	while read -r difference; do
		[ -z "$difference" ] || wrong "vdmd.conf.5 has, and vdmd --print-config has not: $difference"
	done < <(only_in "$(documented_keys)" "$printed")

	while read -r section key least most; do
		[ "$section" = user ] && section='user 0'
		check_range "[$section]" "$key" "$least" "$most"
		ranges=$((ranges + 1))
	done < <(awk '
		/^\.Ss/ { section = $2; gsub(/\\&|\[|\]/, "", section) }
		/^\.It Va / { key = $3 }
		/^\.El/ { key = "" }
		key != "" && match($0, /[0-9]+[KMGT]? to [0-9]+[KMGT]?/) {
			split(substr($0, RSTART, RLENGTH), ends, " to "); print section, key, ends[1], ends[2]; key = ""
		}' "$man/vdmd.conf.5")
	[ "$ranges" -ge 8 ] || wrong "vdmd.conf.5: only $ranges ranges were found"

	# the example of the page is one, apart from the user it names
	sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$man/vdmd.conf.5" | sed -n '/^\.Bd/,/^\.Ed/{/^\./d;p}' |
		sed 's/user postgres/user 0/' >"$work/example.conf"
	grep -q . "$work/example.conf" && "$VDMD" --print-config --config "$work/example.conf" >/dev/null ||
		wrong "vdmd.conf.5: vdmd refuses the example"
}

# Functions: every one that the library exports is in its page, and the page has no other.
check_functions() {
	local function exported page_functions

	exported=$(nm -D --defined-only "$LIBVDM" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' |
		grep -vE '^(_|__)')
	page_functions=$(sed -nE 's/^\.F[no] "?([a-z][a-z0-9_]*).*/\1/p' "$man/libvdm.3")
	# those that only programs of libminiasync use
	exported=$(grep -vE '^(vdm_miniasync|data_mover_dml)_' <<<"$exported")
	[ -n "$exported" ] || wrong "no function was found in $LIBVDM"
	for function in $(only_in "$exported" "$page_functions"); do
		wrong "libvdm.3 does not have $function, which the library exports"
	done
	for function in $page_functions; do
		grep -qw -- "$function" "$source_dir"/include/libvdm/*.h ||
			wrong "libvdm.3 has $function, which no header declares"
	done
}

# Names of libminiasync: each that the page lists is defined, and each that its headers define is listed. What the
# library adds to them begins with VDM_ or vdm_chain, or is in libvdm.3.
check_miniasync() {
	local page=$man/libminiasync.7 listed defined text name

	listed=$(sed -nE 's/^\.It (Fn|Dv) ([A-Za-z_0-9]+).*/\2/p; s/^\.It Vt //p' "$page" |
		sed -E 's/(struct|enum) //g; s/ , /\n/g')
	text=$(echo '#include <libminiasync-vdm-dml.h>' |
		"$CC" -E -dD -x c - "-I$source_dir/include/libvdm-miniasync" |
		awk '/^# [0-9]+ / { ours = $3 ~ /libvdm/ } ours')
	[ "$(wc -l <<<"$listed")" -ge 90 ] || wrong "libminiasync.7 lists only $(wc -l <<<"$listed") names"
	for name in $listed; do
		grep -qw -- "$name" <<<"$text" || wrong "libminiasync.7 lists $name, which no header has"
	done
	defined=$(sed -nE 's/^#define ([A-Z_a-z0-9]+).*/\1/p; s/^(struct|enum) ([a-z_]+) \{.*/\2/p
		s/^typedef .*\(\*([a-z_]+)\)\(.*/\1/p; s/^(static inline )?[a-z].*[ *]([a-z_]+)\(.*/\2/p' <<<"$text" |
		grep -vE '^(VDM_(FUTURE|CHAIN|CAPABILITY)|vdm_chain|LIB|vdm_miniasync_|data_mover_daemon)|_H$')
	for name in $(only_in "$defined" "$listed"); do
		wrong "libminiasync.7 does not list $name, which a header defines"
	done
}

# The program in the page is compiled and run; without a daemon it does its work itself.
check_page_program() {
	local flags=(-std=c17 -Wall -Wextra -Werror "-I$source_dir/include" "-I$INCLUDE")

	[ -n "${SANITIZE:-}" ] && flags+=("-fsanitize=$SANITIZE")
	sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$man/libvdm.3" | sed -n '/^\.Bd/,/^\.Ed/{/^\./d;p}' |
		sed 's/\\e/\\/g' >"$work/page.c"
	if ! "$CC" "${flags[@]}" -o "$work/page" "$work/page.c" "$LIBVDM" -Wl,-rpath,"$(dirname "$LIBVDM")"; then
		wrong "libvdm.3: the example does not compile"
	elif [ "$(VDM_SOCKET=$work/none "$work/page")" != "1048576 bytes" ]; then
		wrong "libvdm.3: the example does not copy"
	fi
}

# Sizes of messages and places of fields, which the headers assert.
check_protocol() {
	local page=$man/vdm-protocol.7 name size line structure field offset

	while read -r name size; do
		[ "$name" = header ] && continue
		grep -qE "^\.It Li ${name^^} No \([0-9]+, $size bytes" "$page" ||
			wrong "vdm-protocol.7: ${name^^} has $size bytes"
	done < <(sed -nE 's/.*sizeof\(struct vdm_message_([a-z_]+)\) == ([0-9]+).*/\1 \2/p' \
		"$source_dir/proto/control.h")
	# the types are counted from 1
	while read -r line name; do
		grep -qE "^\.It Li $name No \($line," "$page" || wrong "vdm-protocol.7: $name is type $line"
	done < <(sed -nE '/^enum vdm_message_type/,/^}/s/^\tVDM_MESSAGE_([A-Z_]+).*/\1/p' \
		"$source_dir/proto/control.h" | grep -v TYPE_COUNT | cat -n)
	while read -r structure field offset; do
		[[ $field == reserved* ]] && field=reserved
		[ "$structure" = client_line ] && structure='Sleeping client'
		[ "$structure" = daemon_line ] && structure='Sleeping daemon'
		sed -n "/^\.Ss ${structure^}/,/^\.Ed/p" "$page" | grep -qE "^ ?$offset  [ui][0-9]+ +$field" ||
			wrong "vdm-protocol.7: $field of $structure is at $offset"
	done < <(sed -nE \
		's/^static_assert\(offsetof\(struct vdm_([a-z_]+), ([a-z0-9_]+)\) == ([0-9]+).*/\1 \2 \3/p' \
		"$source_dir/proto/ring.h")
}

# Errors with which operations complete: what the engine gives is in both pages that list them.
check_operation_errors() {
	local error errors

	errors=$(cd "$source_dir" && {
		cat op/operation.c engine/descriptor.c
		sed -n '/^int memory_resolve(/,/^}/p; /^int account_charge(/,/^}/p' engine/*.c
	} | grep -oE -- '-E[A-Z]+' | sort -u)
	[ "$(echo $errors)" = "-EACCES -EDQUOT -EFAULT -EINVAL -EOPNOTSUPP" ] ||
		wrong "the functions searched here give $errors: some have moved, or this list is old"
	for error in $errors -ECANCELED; do
		sed -n '/^Operations, in the/,/^\.El/p' "$man/libvdm.3" | grep -qE "^\.It .*${error#-}" ||
			wrong "libvdm.3: operations may complete with $error"
		sed -n '/^A descriptor that cannot be executed/,/^\.El/p' "$man/vdm-protocol.7" | grep -qE "^\.It .*${error#-}" ||
			wrong "vdm-protocol.7: operations may complete with $error"
	done
}

# What happens to a descriptor of shm_open(3), which is no memfd but looks like one, is with that error: test_region.
check_shm_open() {
	sed -n '/^\.It Bq Er EMEDIUMTYPE/,/^\.It/p' "$man/libvdm.3" | grep -q shm_open ||
		wrong "libvdm.3: EMEDIUMTYPE is what a descriptor of shm_open(3) gives"
	sed -n '/^the descriptor is a memfd/,/^\.It/p' "$man/vdm-protocol.7" | grep -q shm_open ||
		wrong "vdm-protocol.7: EMEDIUMTYPE is what a descriptor of shm_open(3) gives"
}

check_readme() {
	local readme=$source_dir/README.md path

	sed -n '/^```c$/,/^```$/{/^```/d;p}' "$readme" >"$work/readme.c"
	diff -u <(grep -v SPDX-License-Identifier "$source_dir/examples/README_example.c") "$work/readme.c" ||
		wrong "README.md: the program is not examples/README_example.c"
	# what it names in its table of places, and what it links to, exists
	while read -r path; do
		[ -e "$source_dir/$path" ] || wrong "README.md names $path, which does not exist"
	done < <(sed -nE 's/^\| `([^`]+)`.*/\1/p; s/.*\]\(([a-zA-Z][^):]*)\).*/\1/p' "$readme")
	for path in demo check; do
		[ -x "$source_dir/$path" ] || wrong "README.md has the command ./$path, which does not exist"
	done
}

# The lines that install are for a machine that has what scripts/dependencies.sh build asks for, and no more.
check_readme_build() {
	local configure=

	configure=$(sed -n '/^## Install/,/^## /p' "$source_dir/README.md" | grep -o '^cmake --preset [^&]*')
	mkdir "$work/pkgconfig" "$work/none"
	for library in libsystemd liburing inih libseccomp; do
		ln -s "$(pkg-config --variable=pcfiledir $library)/$library.pc" "$work/pkgconfig"
	done
	(cd "$source_dir" && PKG_CONFIG_LIBDIR=$work/pkgconfig $configure -B "$work/build") >"$work/configure.log" 2>&1 ||
		wrong "README.md: \"$configure\" needs more than scripts/dependencies.sh build installs: $(cat "$work/configure.log")"
}

check_options "$VDMD" vdmd.8
check_options "$VDMCTL" vdmctl.1
check_options "$VDM_BENCH" vdm-bench.1
check_configuration
check_functions
check_miniasync
check_page_program
check_protocol
check_operation_errors
check_shm_open
check_readme
check_readme_build

[ "$failures" -eq 0 ] && echo "README and manual pages agree with the programs"
exit $((failures > 0))
