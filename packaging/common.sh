# Functions of the maintainer scripts of both packages, put into each of them at build time (cmake/Packaging.cmake).

warn() {
	printf '%s: %s\n' "$PACKAGE" "$*" >&2
}

# Whether that package is here, configured or about to be; what is left of one that was removed does not count.
is_there() {
	case "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" in
	"" | not-installed | config-files) return 1 ;;
	esac
}

is_systemd_running() {
	[ -d /run/systemd/system ]
}

# Not in a chroot: an image that is being built has the builder's kernel, not its own.
load_module() {
	is_systemd_running || return 0
	if modprobe -q "$1"; then
		return 0
	fi
	release=$(uname -r)
	warn "the kernel module $1 could not be loaded into this kernel ($release)."
	if [ -f /run/systemd/container ]; then
		warn "This is a container, and its kernel is the host's: run 'modprobe $1' on the host, and each time it boots."
	elif [ ! -d "/lib/modules/$release" ]; then
		warn "The modules of this kernel are gone, as after its upgrade: reboot."
	else
		case "$release" in
		*cloud*)
			warn "Debian's cloud kernel has no USB: apt-get install linux-image-$(dpkg --print-architecture), reboot, then remove the cloud kernel."
			;;
		*-generic | *-aws | *-azure | *-gcp | *-oracle | *-kvm)
			warn "On Ubuntu it is in another package: apt-get install linux-modules-extra-$release"
			;;
		*)
			warn "Install a kernel that has it (Debian: linux-image-$(dpkg --print-architecture)) and reboot."
			;;
		esac
	fi
	warn "The package is installed all the same, and works as soon as the module is there."
}

# No conffile: the programs themselves write it (pairing).
install_example() {
	if [ ! -e "/etc/usbpush/$1" ]; then
		mkdir -p /etc/usbpush
		cp "/usr/share/usbpush/$1.example" "/etc/usbpush/$1"
		chmod 0644 "/etc/usbpush/$1"
	fi
}

reload_udev() {
	if is_systemd_running && command -v udevadm >/dev/null; then
		udevadm control --reload || warn "udev did not reload its rules. Do it by hand: udevadm control --reload"
	fi
}

reload_systemd() {
	if is_systemd_running; then
		systemctl --system daemon-reload || warn "systemd did not reload its units. Do it by hand: systemctl daemon-reload"
	fi
}

# A unit that the owner disabled stays disabled.
enable_unit() {
	deb-systemd-helper unmask "$1" >/dev/null || true
	if deb-systemd-helper --quiet was-enabled "$1"; then
		deb-systemd-helper enable "$1" >/dev/null || true
	else
		deb-systemd-helper update-state "$1" >/dev/null || true
	fi
}

restart_unit() {
	if is_systemd_running && ! deb-systemd-invoke restart "$1" >/dev/null; then
		warn "$1 did not start. See why: journalctl -u $1 -n 20"
	fi
}

stop_unit() {
	if is_systemd_running; then
		deb-systemd-invoke stop "$1" >/dev/null || true
	fi
}

forget_unit() {
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge "$1" >/dev/null || true
		deb-systemd-helper unmask "$1" >/dev/null || true
	fi
}
