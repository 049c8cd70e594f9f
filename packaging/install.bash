# What pi/install and vm/install have in common: build dependencies, build, package, install, look whether it runs.
# Sourced with root, the source tree, and side, pi or vm, set.

: "${root:?}" "${side:?}"
# shellcheck source=packaging/apt.bash
. "$root/packaging/apt.bash"

package=usbpush-$side

say() {
	printf '==> %s\n' "$*"
}

# die WHAT [CURE...]
die() {
	printf '%s/install: %s\n' "$side" "$1" >&2
	shift
	[ $# -eq 0 ] || printf '    %s\n' "$@" >&2
	exit 1
}

check_machine() {
	local other=usbpush-vm id id_like version
	[ "$side" = pi ] || other=usbpush-pi
	[ "$(id -u)" -eq 0 ] || die "it installs packages, so it must run as root." "sudo $side/install"
	id=$(. /etc/os-release && echo "${ID:-}")
	id_like=$(. /etc/os-release && echo "${ID_LIKE:-}")
	version=$(. /etc/os-release && echo "${VERSION_ID:-99}")
	case " $id $id_like " in
	*" debian "* | *" raspbian "*) ;;
	*)
		die "this is ${id:-an unknown system}, and the packages are Debian's." \
			"It runs on Raspberry Pi OS, Debian 12 and later, and what descends from them." \
			"Elsewhere: cmake --preset release && cmake --build --preset release && cmake --install build/release"
		;;
	esac
	case "$id:${version%%.*}" in
	debian:[1-9] | debian:1[01] | raspbian:[1-9] | raspbian:1[01] | ubuntu:1? | ubuntu:2[0123])
		die "this is $id $version, and libssh 0.10, which came with Debian 12 and Ubuntu 24.04, is needed." "Upgrade the system first."
		;;
	esac
	if [ "$(dpkg-query -W -f '${db:Status-Status}' "$other" 2>/dev/null)" = installed ]; then
		die "$other is installed here, and a machine is either the Pi or the VM." "If it is to become the other: apt-get purge $other"
	fi
}

# As the owner of the source tree, so that no file of root is left in it.
as_owner() {
	local owner
	owner=$(stat -c %U "$root")
	if [ "$owner" = root ] || ! id "$owner" >/dev/null 2>&1; then
		"$@"
	else
		runuser -u "$owner" -- "$@"
	fi
}

build_package() {
	local log build=$root/build/release
	log=$(mktemp --tmpdir usbpush-build.XXXXXX)
	# An earlier build by root would be in the owner's way.
	[ ! -e "$root/build" ] || chown -R --reference="$root" "$root/build"
	rm -f "$build"/"$package"_*.deb
	if ! (cd "$root" && as_owner cmake --preset release && as_owner cmake --build --preset release &&
		as_owner cpack --preset release) >"$log" 2>&1; then
		tail -n 30 "$log" >&2
		die "building failed; the last lines are above, all are in $log."
	fi
	rm -f "$log"
	deb=$(ls "$build"/"$package"_*.deb)
}

install_package() {
	local place
	# apt reads it as its own user, who may not enter the home that the source tree lies in.
	place=$(mktemp -d --tmpdir usbpush-install.XXXXXX)
	chmod 0755 "$place"
	cp "$deb" "$place/"
	chmod 0644 "$place"/*.deb
	if ! DEBIAN_FRONTEND=noninteractive apt-get -q -q -y --reinstall --allow-downgrades -o DPkg::Lock::Timeout=120 install \
		"$place/$(basename "$deb")" </dev/null; then
		rm -rf "$place"
		die "apt-get could not install $deb; what it says is above."
	fi
	rm -rf "$place"
}

# check_running MODULE UNIT: the package says itself what a missing module's cure is.
check_running() {
	local module=$1 unit=$2
	if [ ! -d /run/systemd/system ]; then
		say "systemd does not run here: $unit starts when this system boots."
		return 0
	fi
	[ -d "/sys/module/${module//-/_}" ] ||
		die "$package is installed, but the kernel module $module is not loaded: see what the installation says of it above." \
			"Then: modprobe $module && systemctl restart $unit"
	systemctl --quiet is-active "$unit" ||
		die "$package is installed, but $unit does not run. Its last words:" "$(journalctl -u "$unit" -n 10 --no-pager -o cat 2>&1)" \
			"After that is mended: systemctl restart $unit"
}

install_side() {
	local module=$1 unit=$2 packages
	check_machine
	mapfile -t packages < <(apt_read_list "$root/packaging/build-depends")
	say "Packages that building takes"
	apt_install "$side/install" "${packages[@]}" || exit 1
	say "Building $package (the first time some minutes on a Pi)"
	build_package
	say "Installing $(basename "$deb")"
	install_package
	check_running "$module" "$unit"
}
