"""Clean ends: who stops gives back what he holds, and an upgrade costs one re-attach at most."""
import os
import time

import pytest

from tty_user import TtyUser
from usbpush_lab import wait_until


@pytest.fixture
def attached(product):
    devices = [product.lab.plug("ft232", "A1", serial="ONE"), product.lab.plug("ft232", "B2", serial="TWO")]
    product.wait_attached(*devices)
    yield product, devices
    for guest, unit in ((product.pi, "usbpush-exporter"), (product.vm, "usbpush-handler")):
        guest.sh(f"systemctl start {unit}")
    product.wait_link("UP")


def assert_nothing_hangs(guest):
    """Who waits for a disk waits in D as well, for a moment; who waits for a device that is not there stays."""
    look = "ps -eo stat=,ppid=,pid=,comm= | awk '$1 ~ /^D/ && $2 != 2 { print $3 \":\" $4 }'"
    stuck = set(guest.sh(look).split())

    def none_stays():
        stuck.intersection_update(guest.sh(look).split() if stuck else [])
        return not stuck

    wait_until(none_stays, 5, f"{stuck} to go on", interval=0.3, lab=guest.lab)


def test_the_exporter_stops_and_the_devices_are_the_pis_own(attached):
    """When `systemctl stop` returns it is so, on both machines; and a start brings them back."""
    product, devices = attached
    product.pi.sh("systemctl stop usbpush-exporter")
    assert product.bound_busids() == [] and product.matched_busids() == []
    for device in devices:
        driver = product.pi.sh(f"basename $(realpath {device.sysfs}:1.0/driver)")
        assert driver == "ftdi_sio", f"{device.busid} is with {driver}"
    wait_until(lambda: not product.used_ports(), 10, "the VM's ports to be free", lab=product.lab)
    assert_nothing_hangs(product.pi)
    product.pi.sh("systemctl start usbpush-exporter")
    product.wait_attached(*devices)


def test_the_handler_stops_and_the_vms_ports_are_free(attached):
    product, devices = attached
    product.vm.sh("systemctl stop usbpush-handler")
    assert product.used_ports() == {}
    assert_nothing_hangs(product.vm)
    product.vm.sh("systemctl start usbpush-handler")
    product.wait_attached(*devices)


def test_a_program_that_uses_the_tty_holds_up_no_stop(attached):
    product, devices = attached
    user = TtyUser(product, devices[0], product.wait_attached(devices[0])[0])
    user.talk()
    product.vm.sh("systemctl stop usbpush-handler", timeout=30)
    user.wait_end(30)
    product.vm.sh("systemctl start usbpush-handler")
    product.wait_attached(*devices)


@pytest.mark.parametrize("side", ["pi", "vm"])
def test_an_upgrade_costs_one_attach_at_most(attached, side):
    package = os.environ.get("USBPUSH_PI_DEB" if side == "pi" else "USBPUSH_VM_DEB")
    if not package:
        pytest.skip("no package to upgrade to was named")
    product, devices = attached
    config = product.pi.sh("sha256sum /etc/usbpush/vm.conf"), product.vm.sh("sha256sum /var/lib/usbpush/.ssh/authorized_keys")
    begun = time.monotonic()
    product.lab.guest(side).install(package)
    product.wait_link("UP")
    product.wait_attached(*devices)
    attached = product.vm.events.find(begun, kind="kernel", action="add", devtype="usb_device", devpath="*/vhci_hcd.*/*-*")
    assert len(attached) <= len(devices), "each at most once"
    assert (product.pi.sh("sha256sum /etc/usbpush/vm.conf"), product.vm.sh("sha256sum /var/lib/usbpush/.ssh/authorized_keys")) == config
