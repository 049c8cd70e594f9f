"""The packages in their lives: newer, older, away, back, and gone without a trace."""
import os
import pathlib
import re
import subprocess

import pytest

from usbpush_lab import wait_until

VARIABLE = {"pi": "USBPUSH_PI_DEB", "vm": "USBPUSH_VM_DEB"}
PACKAGE = {"pi": "usbpush-pi", "vm": "usbpush-vm"}
DAEMONS = {"pi": ["usbpush-exporter", "usbpush-portal", "usbpush-mdns"], "vm": ["usbpush-handler", "usbpush-mdns"]}
UNITS = {"pi": DAEMONS["pi"], "vm": [*DAEMONS["vm"], "usbpush-boot-attach", "usbpush-unpair.path"]}
CONFIG = {"pi": ["vm.conf", "devices.conf", "portal.conf"], "vm": ["pi.conf", "accept.conf"]}
MINE = "# a line of mine"

pytestmark = pytest.mark.skipif(not all(os.environ.get(name) for name in VARIABLE.values()), reason="no packages were named")


def built(side):
    return pathlib.Path(os.environ[VARIABLE[side]])


def of_version(side, version, directory):
    """The same package under another version's number."""
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "-R", built(side), tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text("".join(f"Version: {version}\n" if line.startswith("Version:") else line
                               for line in control.read_text().splitlines(keepends=True)))
    package = directory / f"{PACKAGE[side]}_{version}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, package], check=True, capture_output=True)
    return package


class Installed:
    """One side of a pair with a device at work, whose owner has written into its configuration."""

    def __init__(self, product, side):
        self.product, self.side, self.guest = product, side, product.lab.guest(side)
        self.device = product.lab.plug("ft232", "A1", serial="PACKAGE")
        product.wait_attached(self.device)
        self.mark_settings()

    def mark_settings(self):
        for name in CONFIG[self.side]:
            self.guest.sh(f"grep -qxF '{MINE}' /etc/usbpush/{name} || echo '{MINE}' >>/etc/usbpush/{name}")

    def version(self):
        return self.guest.sh(f"dpkg-query -W -f '${{db:Status-Status}} ${{Version}}' {PACKAGE[self.side]}")

    def pids(self):
        return {unit: self.product.pid(self.guest, unit) for unit in DAEMONS[self.side]}

    def kept(self):
        """What no package may change: the owner's settings, keys and what opens them."""
        return self.guest.sh("cd / && find etc/usbpush var/lib/usbpush* -type f ! -name 'session*' ! -name addresses -exec sha256sum {} + | sort -k 2")

    def enabled(self):
        return {unit: str(self.guest.sh(f"systemctl is-enabled {unit}", check=False)) for unit in UNITS[self.side]}

    def assert_works(self):
        self.product.wait_link("UP")
        self.product.wait_attached(self.device)
        at_work = [unit for unit in UNITS[self.side] if unit != "usbpush-boot-attach"]  # that one is for the next boot
        active = {unit: str(self.guest.sh(f"systemctl is-active {unit}", check=False)) for unit in at_work}
        assert set(active.values()) == {"active"}, active
        assert self.guest.sh("systemctl list-units --failed --plain --no-legend 'usbpush*'") == ""

    def put_right(self):
        """As it was installed at first, whatever a test has left."""
        self.guest.sh(f"systemctl enable {' '.join(UNITS[self.side])}", check=False)
        self.guest.install(built(self.side))
        self.guest.sh(f"systemctl enable --now {' '.join(UNITS[self.side])}")
        if not self.is_paired():
            self.product.pair()
        for name in CONFIG[self.side]:
            self.guest.sh(f"sed -i '/^{MINE}$/d' /etc/usbpush/{name}")
        self.product.wait_link("UP")

    def is_paired(self):
        """In one second or two after a start the link is not up yet, and is no reason to pair anew."""
        def known():
            state = self.product.link().get("state")
            return state in ("UP", "UNPAIRED", "REFUSED") and state
        return wait_until(known, 60, "the Pi to know how it stands with the VM", lab=self.product.lab) == "UP"


@pytest.fixture(params=VARIABLE)
def installed(product, request):
    installed = Installed(product, request.param)
    yield installed
    installed.put_right()


@pytest.mark.parametrize("version", ["99.0.0", "0.0.1"], ids=["newer", "older"])
def test_another_version_takes_over_and_keeps_what_is_the_owners(installed, version, tmp_path):
    installed.guest.sh("systemctl disable usbpush-mdns")  # an owner's decision, too
    kept, enabled, pids = installed.kept(), installed.enabled(), installed.pids()
    assert enabled["usbpush-mdns"] == "disabled"

    installed.guest.install(of_version(installed.side, version, tmp_path))

    assert installed.version() == f"installed {version}"
    assert installed.kept() == kept and MINE in installed.guest.sh("cat /etc/usbpush/*.conf")
    assert installed.enabled() == enabled
    for unit, pid in installed.pids().items():
        assert pid not in (0, pids[unit]), f"{unit} was not restarted"
    installed.assert_works()


def test_removed_it_gives_all_back_and_installed_again_it_is_paired_as_before(installed):
    product, guest, kept = installed.product, installed.guest, installed.kept()
    guest.sh(f"dpkg -r {PACKAGE[installed.side]}", timeout=120)

    wait_until(lambda: not product.used_ports(), 60, "the VM's ports to be free", lab=product.lab)
    assert not guest.exists("/usr/libexec/usbpush") and not guest.exists("/run/usbpush")
    # The Pi comes again, and a relay that was started in the last moment waits three seconds for its handler.
    wait_until(lambda: guest.sh("pgrep -l usbpush", check=False) == "", 30, "the last of its programs to end", lab=product.lab)
    if installed.side == "pi":
        assert product.pi.sh(f"basename $(realpath {installed.device.sysfs}:1.0/driver)") == "ftdi_sio"
    assert installed.kept() == kept

    guest.install(built(installed.side))
    assert installed.kept() == kept
    installed.assert_works()


# Accounts without password, shell or home stay, as everywhere in Debian: files elsewhere may have their numbers. The packages' archive is the test's.
FIND_TRACES = ("find / -xdev \\( -path /proc -o -path /sys -o -path /var/tmp \\) -prune -o -iname '*usbpush*' -print;"
               " find /run /tmp /dev -iname '*usbpush*'; systemctl list-unit-files --no-legend 'usbpush*'; systemctl list-units --all --no-legend 'usbpush*';"
               " getent passwd | grep usbpush | grep -v ':/usr/sbin/nologin$'; ls /var/lib/dpkg/info | grep usbpush; grep -rl usbpush /etc --exclude='passwd*'"
               " --exclude='shadow*' --exclude='group*' --exclude='gshadow*' --exclude-dir=lab || true")
# The lab's own ports to its agent; and udev's index of the tag that our rule gave: it stays as long as the devices that have it, or until the next boot.
NOT_OURS = re.compile("/dev/virtio-ports/|/run/udev/")


def traces(guest):
    return [line for line in guest.sh(FIND_TRACES, check=False).splitlines() if not NOT_OURS.match(line)]


def test_what_was_left_of_the_other_package_is_purged_and_nothing_else(installed):
    """A machine that was the one once, and is the other now."""
    guest, pids, kept, enabled = installed.guest, installed.pids(), installed.kept(), installed.enabled()
    other = "vm" if installed.side == "pi" else "pi"
    left = [f"/etc/usbpush/{name}" for name in CONFIG[other]]
    guest.sh(f"touch {' '.join(left)}")
    guest.put(built(other), "/var/tmp/other.deb")
    guest.sh("rm -rf /var/tmp/other; dpkg-deb -e /var/tmp/other.deb /var/tmp/other; /var/tmp/other/postrm purge; rm -r /var/tmp/other*", timeout=120)
    assert guest.sh(f"ls {' '.join(left)} 2>/dev/null || true") == ""
    assert installed.kept() == kept and installed.enabled() == enabled and installed.pids() == pids
    installed.assert_works()


def test_purged_it_leaves_nothing(installed):
    guest, package = installed.guest, PACKAGE[installed.side]
    guest.sh("/usr/bin/usbpush setup-code" if installed.side == "pi" else "true")
    guest.sh(f"dpkg -P {package}", timeout=120)
    assert traces(guest) == []
    assert guest.sh("systemctl is-active ssh systemd-udevd").split() == ["active", "active"]
    if installed.side == "vm":
        assert guest.sh("sshd -t", check=False).code == 0

    guest.install(built(installed.side))
    assert MINE not in guest.sh("cat /etc/usbpush/*.conf")
    installed.product.pair()
    installed.assert_works()
