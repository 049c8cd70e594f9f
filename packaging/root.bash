# A root directory of some Debian in which to build, for this machine's kind of processor or, cross-built, for another. Sourced by packaging/build-for and
# tests/arm64 from the top of the source tree.

# shellcheck source=packaging/apt.bash
. packaging/apt.bash

root_hash() {
	sha256sum | cut -c1-16
}

# root_list_files PATHSPEC...: the source files that there are, committed or not, a line each.
root_list_files() {
	git ls-files -co --exclude-standard -- "$@" | while read -r file; do [ ! -f "$file" ] || echo "$file"; done
}

# root_quietly COMMAND...: its output only if it fails.
root_quietly() {
	local output
	output=$("$@" 2>&1) || { printf '%s\n' "$output" >&2; return 1; }
}

# root_packages ARCH: packaging/build-depends as packages to build for ARCH on this machine. Of libraries those of ARCH; what runs stays this machine's.
root_packages() {
	local package
	if [ "$1" = "$(dpkg --print-architecture)" ]; then
		apt_read_list packaging/build-depends
		return
	fi
	apt_read_list packaging/build-depends | while read -r package; do
		case $package in
		gcc) echo "gcc-$(sed -n 's/^set(CMAKE_C_COMPILER \(.*\)-gcc)$/\1/p' "cmake/$1.cmake")" ;;
		lib*-dev) echo "$package:$1" ;;
		*) echo "$package" ;;
		esac
	done
}

# What is mounted meanwhile, /sys too, is so for mmdebstrap alone: one that was killed leaves nothing mounted in a directory that is removed the next time.
root_make() {
	local new=$root.making native
	native=$(dpkg --print-architecture)
	rm -rf --one-file-system "$new" &&
		unshare --mount mmdebstrap --mode=root --variant=apt --architectures="$native${root_foreign:+,$root_foreign}" \
			--include="$(IFS=,; echo "${root_includes[*]}")" --aptopt='Acquire::Languages "none"' \
			--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
			--dpkgopt='path-exclude=/usr/share/locale/*' "$root_suite" "$new" &&
		mv "$new" "$root"
}

# root_use SUITE ARCH [PACKAGE...]: sets `root` to a root directory of Debian SUITE with what building for ARCH takes and these packages, and `root_toolchain` to
# what cmake is to be told. Made first if need be, and kept in USBPUSH_LAB_CACHE. It is this process' alone until that ends.
# shellcheck disable=SC2034 # root_toolchain is for who sources this
root_use() {
	local cache=${USBPUSH_LAB_CACHE:-/var/cache/usbpush-lab} arch=$2
	root_suite=$1 root_foreign='' root_toolchain=()
	if [ "$arch" != "$(dpkg --print-architecture)" ]; then
		[ -f "cmake/$arch.cmake" ] || { echo "packaging: $arch: there is no cmake/$arch.cmake, which names the compiler for it" >&2; exit 2; }
		root_foreign=$arch root_toolchain=(--toolchain "cmake/$arch.cmake")
	fi
	shift 2
	mapfile -t root_includes < <(root_packages "$arch"; [ $# -eq 0 ] || printf '%s\n' "$@")
	root=$cache/building.$root_suite.${root_foreign:+$root_foreign.}$(printf '%s\n' "$root_suite" "${root_includes[@]}" | cat - packaging/root.bash | root_hash)
	mkdir -p "$cache"
	exec 9>"$root.lock"
	flock 9
	[ -d "$root" ] || root_quietly root_make
}
