"""kill -9 of every process that carries a device, while a program uses it: all comes back by itself."""
import contextlib
import re

import pytest

from invariants import stuck_processes
from port_watch import PortWatch
from tty_user import TtyUser
from usbpush_lab import wait_until


class InUse:
    """A device on the VM whose tty is open, and how things looked then."""

    def __init__(self, product):
        self.product = product
        self.device = product.lab.plug("ft232", "A1", serial="BUSY")
        (node,) = product.wait_attached(self.device)
        self.link = product.vm.sh("ls /dev/serial/by-id/")
        self.user = TtyUser(product, self.device, node)
        self.user.talk()
        self.before = product.settled(self.held)

    def held(self):
        """What one attached device holds. (A stream that waits for the next plug comes and goes, and with it a relay and open files.)"""
        held = self.product.leftovers()
        return {**held, "ports": len(held["ports"]), "relays": len(stream_relays(self.product.vm)), "fds": None}

    def n_attached(self):
        """How often the Pi has seen it become attached."""
        entry = self.product.device(self.device.busid)
        return entry["attached_count"] if entry else None

    def wait_as_before(self):
        """Attached, with its link, held by nothing but what held it before, and of use."""
        product = self.product
        (node,) = product.wait_attached(self.device)
        held = {}

        def is_as_before():
            held.update(self.held())
            return held == self.before

        with contextlib.suppress(AssertionError):
            wait_until(is_as_before, 60, interval=0.5)
        assert held == self.before
        wait_until(lambda: product.relays() <= 3, 30, "one relay for the control channel, one for the stream, one for the next plug", lab=product.lab)
        wait_until(lambda: product.vm.sh("ls /dev/serial/by-id/", check=False) == self.link, 30, f"{self.link}", lab=product.lab)
        assert not hanging(product.pi) and not hanging(product.vm)
        return node

    def wait_usable_anew(self):
        """The old open ended with the old stream; a new one works."""
        self.user.wait_end()
        self.user = TtyUser(self.product, self.device, self.wait_as_before())
        self.user.talk()


def the_stream_relay(vm):
    """The one that there is. (The one for the next plug looks like it until the handler has opened its end.)"""
    return wait_until(lambda: len(relays := stream_relays(vm)) == 1 and relays, 30, "one stream's relay", interval=0.2, lab=vm.lab)[0]


def stream_relays(vm):
    """The pids of the relays whose other end is with the kernel, as a port's socket: no process holds that end."""
    rows = [re.search(r"(\d+) +\S+ +(\d+) +(users:.*)?$", row) for row in vm.sh("ss -Hxp").splitlines()]
    holders = {inode: users or "" for inode, _, users in (row.groups() for row in rows)}
    return [int(re.search(r"pid=(\d+)", users)[1]) for _, peer, users in (row.groups() for row in rows)
            if users and "usbpush-relay" in users and not holders.get(peer)]


def hanging(guest):
    """Programs that have waited in the kernel for a second."""
    return [process for process in stuck_processes(guest, 1) if process.split(":")[1] != "2"]


@pytest.fixture
def in_use(product):
    in_use = InUse(product)
    yield in_use
    in_use.user.end()


def kill(guest, pid):
    guest.sh(f"kill -9 {pid}")


def test_the_exporter_is_killed(in_use):
    product = in_use.product
    pid = product.pid(product.pi, "usbpush-exporter")
    with PortWatch(product.vm) as watch:
        kill(product.pi, pid)
        in_use.wait_usable_anew()
    assert watch.most_at_once() == 1
    assert product.pid(product.pi, "usbpush-exporter") != pid


def test_the_handler_is_killed_twice_and_the_open_tty_works_on(in_use):
    """The kernel holds the port: no program on the VM notices."""
    product = in_use.product
    attached, ports = in_use.n_attached(), product.used_ports()
    with PortWatch(product.vm) as watch:
        for _ in range(2):
            pid = product.pid(product.vm, "usbpush-handler")
            kill(product.vm, pid)
            in_use.user.talk()
            wait_until(lambda pid=pid: product.pid(product.vm, "usbpush-handler") not in (0, pid), 60, "a new handler")
            in_use.user.talk()
        in_use.wait_as_before()
        in_use.user.talk()
    assert product.used_ports() == ports and watch.most_at_once() == 1
    assert in_use.n_attached() == attached, "the Pi never saw it leave"
    assert product.vm_status()["pis"][0]["devices"][0]["state"] == "attached"


def test_the_streams_relay_is_killed(in_use):
    product = in_use.product
    with PortWatch(product.vm) as watch:
        relay = the_stream_relay(product.vm)
        kill(product.vm, relay)
        in_use.wait_usable_anew()
    assert watch.most_at_once() == 1


def test_the_streams_relay_is_killed_and_the_handler_is_slow_to_notice(in_use):
    """The next offer of the device reaches it together with the end of the last one."""
    product = in_use.product
    attempts = product.link()["attempts"]
    with PortWatch(product.vm) as watch:
        relay = the_stream_relay(product.vm)
        product.vm.sh(f"pkill -STOP usbpush-handler; kill -9 {relay}")
        try:
            product.wait_device(in_use.device, "OFFERED")
        finally:
            product.vm.sh("pkill -CONT usbpush-handler")
        in_use.wait_usable_anew()
    assert watch.most_at_once() == 1
    assert product.link()["attempts"] == attempts, "the link and what else is attached stayed as they were"


def test_the_control_channels_relay_is_killed_and_the_open_tty_works_on(in_use):
    product = in_use.product
    attached, ports = in_use.n_attached(), product.used_ports()
    with PortWatch(product.vm) as watch:
        product.vm.sh("pkill -9 -o usbpush-relay")
        in_use.user.talk()
        in_use.wait_as_before()
        in_use.user.talk()
    assert product.used_ports() == ports and watch.most_at_once() == 1
    assert in_use.n_attached() == attached


def test_the_session_process_of_sshd_is_killed(in_use):
    product = in_use.product
    with PortWatch(product.vm) as watch:
        product.vm.sh("pkill -9 -u usbpush -x sshd")
        in_use.wait_usable_anew()
    assert watch.most_at_once() == 1


def test_a_stopped_exporter_gives_the_device_back_and_takes_it_again(in_use):
    product = in_use.product
    product.pi.sh("systemctl stop usbpush-exporter")
    in_use.user.wait_end()
    product.wait_nothing_attached()
    wait_until(lambda: product.pi.exists("/dev/ttyUSB0"), 30, "the Pi's own tty", lab=product.lab)
    assert product.bound_busids() == [] and product.matched_busids() == []

    product.pi.sh("systemctl start usbpush-exporter")
    in_use.wait_usable_anew()
    assert not product.pi.exists("/dev/ttyUSB0")


SLOW = "/run/systemd/system/usbpush-exporter.service.d/slow.conf"


@pytest.fixture
def slow_restart(product):
    product.pi.sh(f"mkdir -p $(dirname {SLOW})")
    product.pi.write(SLOW, "[Service]\nRestartSec=5s\n")
    product.pi.sh("systemctl daemon-reload")
    yield
    product.pi.sh(f"rm {SLOW}; systemctl daemon-reload")


def test_unplugged_while_there_is_no_exporter_its_entry_is_cleared_by_the_next(product, slow_restart):
    """The kernel has sixteen of them, and only who holds the device can clear its one: systemd holds it over the kill."""
    device = product.lab.plug("ft232", "A1", serial="MEANWHILE")
    product.wait_attached(device)
    busid = device.busid
    kill(product.pi, product.pid(product.pi, "usbpush-exporter"))
    device.unplug()
    wait_until(lambda: product.pi.sh(f"test ! -e /sys/bus/usb/devices/{busid}", check=False).code == 0, 20, "it to be gone", lab=product.lab)
    assert product.leftovers()["match_busid"] == [busid], "the killed exporter could not clear it"
    product.wait_link("UP")
    wait_until(lambda: product.leftovers()["match_busid"] == [], 30, "the entry to be cleared", interval=0.3, lab=product.lab)
    assert "its entry of match_busid is cleared" in product.pi.sh("journalctl --sync; journalctl -b -u usbpush-exporter -o cat")
    product.wait_nothing_attached()
