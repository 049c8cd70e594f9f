"""The wire between the machines is cut. Shorter than three quarters of the patience: nobody notices. Longer: both sides let go, and are back by themselves.

The bounds are the product's promises (README, "What can happen"): PATIENCE is vm.conf's default, and GRACE what both sides may take beyond it. A machine on which
letting go takes long even when somebody asks for it is given that time as well (measure_limit): it is measured in the same test."""
import hashlib
import random
import statistics
import time

import pytest

from pi_by_hand import time_logins
from port_watch import PortWatch
from tty_user import TtyUser
from usbpush_lab import wait_until

pytestmark = pytest.mark.alone

PATIENCE = 8.0
GRACE = 2.0
BACK = 2.0  # from the heal to the tty; or what the machines take for it without us, where they are slower than that

USBIP_STATUS_AVAILABLE = "1"


def let_pass(seconds):
    """The time that a cut lasts: what is tested is the time itself."""
    time.sleep(seconds)


class Stream:
    """Bytes that go one way through a tty that is open on the VM, and are compared at the end. One way at a time: QEMU's FT232 loses bytes when
    both go at once, also on a machine that usbpush never saw."""

    def __init__(self, product, device, node, n, seed):
        self.vm, self.device, self.lab = product.vm, device, product.lab
        self.data, self.sent = random.Random(seed).randbytes(n), 0
        self.vm.sh(f"stty -F {node} 3000000 raw -echo clocal")
        device.wire.open()
        self.start(node)
        wait_until(lambda: self.program.err, 30, f"a program to open {node}", lab=product.lab)

    def send(self, n):
        """The next n bytes."""
        part = self.data[self.sent:self.sent + n]
        self.sent += len(part)
        self.write(part)

    def assert_whole(self):
        """All that was sent came, in order."""
        self.send(len(self.data))
        assert hashlib.sha256(self.received()).hexdigest() == hashlib.sha256(self.data).hexdigest()


class ToTheVm(Stream):
    def start(self, node):
        self.program = self.vm.spawn(f"exec 3<>{node}; echo open >&2; exec head -c {len(self.data)} <&3")

    def write(self, part):
        self.device.wire.write(part)

    def received(self):
        self.program.wait(120)
        return bytes(self.program.out)


class ToTheDevice(Stream):
    def start(self, node):
        self.program = self.vm.spawn(f"exec 3>{node}; echo open >&2; exec head -c {len(self.data)} >&3")

    def write(self, part):
        self.program.write(part)

    def received(self):
        data = self.device.wire.read(len(self.data), timeout=120)
        assert self.program.wait(30) == 0
        return data


@pytest.mark.parametrize("direction", [ToTheVm, ToTheDevice])
@pytest.mark.parametrize("seconds", [1.5, pytest.param(4.0, marks=pytest.mark.spine), 6.0])
def test_a_cut_shorter_than_the_patience_is_not_seen(product, seconds, direction):
    """The same tty, still open; each byte; and to the Pi it never left."""
    idle = product.lab.plug("ft232", "B2", serial="IDLE")
    device = product.lab.plug("ft232", "A1", serial="TALKS")
    product.wait_attached(idle)
    (node,) = product.wait_attached(device)
    ports, link, counts = product.used_ports(), product.link(), [product.device(d.busid)["attached_count"] for d in (idle, device)]
    stream = direction(product, device, node, 24_000, seed=int(seconds * 10))
    stream.send(4_000)
    product.lab.wire.cut()
    stream.send(4_000)
    let_pass(seconds)
    product.lab.wire.heal()
    stream.send(4_000)
    stream.assert_whole()
    assert product.used_ports() == ports
    assert [product.device(d.busid)["attached_count"] for d in (idle, device)] == counts
    assert product.link()["attempts"] == link["attempts"], "the same connection"
    direction(product, idle, product.wait_attached(idle)[0], 1_000, seed=1).assert_whole()


def measure_kernel(product, *devices):
    """How long the VM's kernel reads the devices it is given."""
    steps = [product.device(d.busid)["vm"]["steps_ms"] for d in devices]
    return max(s["enumerate"] + s["node"] for s in steps) / 1000


def longest_way_back(product, floor):
    """A Pi of Debian 13, whose OpenSSH and kernel are slower here, may take a quarter more than they do alone, as a plug may (test_speed.py)."""
    is_bookworm = product.pi.sh(". /etc/os-release; echo $VERSION_ID") == "12"
    return max(BACK, floor if is_bookworm else 1.25 * floor)


def watch_ends(product, device, t, timeout, n_others=0):
    """Until the Pi's kernel has the device free for the next session or for its own driver, and the VM has no port but of n_others: when each was, from t."""
    path = f"{device.sysfs}/usbip_status"
    ends = {}

    def all_free():
        now = time.monotonic() - t
        if "pi" not in ends and product.pi.sh(f"cat {path}", check=False) in (USBIP_STATUS_AVAILABLE, ""):
            ends["pi"] = now
        if "vm" not in ends and len(product.used_ports()) <= n_others:
            ends["vm"] = now
        return len(ends) == 2

    wait_until(all_free, timeout, "both sides to let go", interval=0.05, lab=product.lab)
    return ends


def ttys_since(vm, t):
    """When each tty that came since then did, from t. (The lab may hear of one later than the Pi.)"""
    return [e["t"] - t for e in vm.events.find(t, kind="udev", action="add", subsystem="tty")]


def measure_limit(product, device):
    """PATIENCE and GRACE; or, where this machine takes longer for it, nine eighths of the patience and twice the time that both sides take to let go of a device
    when they are told to."""
    n_others = len(product.used_ports()) - 1
    t = time.monotonic()
    product.pi.sh(f"usbpush detach {device.busid}")
    took = max(watch_ends(product, device, t, 60, n_others).values())
    product.pi.sh(f"usbpush attach {device.busid}")
    product.wait_attached(device)
    limit = max(PATIENCE + GRACE, PATIENCE * 9 / 8 + 2 * took)
    print(f"\ntold to, both sides let go within {took:.2f} s; without a word the limit is {limit:.2f} s")
    return limit


@pytest.mark.spine
def test_after_a_long_cut_both_sides_are_free_and_then_back(product):
    lab = product.lab
    devices = [lab.plug("ft232", "A1", serial="ONE"), lab.plug("ft232", "B2", serial="TWO")]
    product.wait_attached(*devices)
    kernel, logins, limit = measure_kernel(product, *devices), time_logins(product), measure_limit(product, devices[0])
    user = TtyUser(product, devices[0], product.wait_attached(devices[0])[0])
    user.talk()
    with PortWatch(product.vm) as watch:
        t = time.monotonic()
        lab.wire.cut()
        user.wait_end(limit)
        print(f"\nthe program with the tty ended after {time.monotonic() - t:.2f} s")
        assert time.monotonic() - t >= PATIENCE * 3 / 4, "a shorter cut is not seen"
        ends = watch_ends(product, devices[0], t, limit + 20)
        print(f"free after {ends['pi']:.2f} s on the Pi, {ends['vm']:.2f} s on the VM")
        assert max(ends.values()) <= limit
        let_pass(5)
        healed = lab.wire.heal()
        product.wait_attached(*devices)
        ttys = wait_until(lambda: len(found := ttys_since(product.vm, healed)) >= 2 and found, 30, "the event of each tty", lab=lab)
    # What a way back takes without us: OpenSSH's client in and out once, half of it timed before and half after, and the VM's kernel.
    floor = statistics.median([*logins, *time_logins(product)]) + kernel
    print(f"back after {', '.join(f'{s:.2f} s' for s in ttys)}; floor {floor:.2f} s")
    assert len(ttys) == 2 and max(ttys) <= longest_way_back(product, floor)
    assert watch.most_at_once() == 2
    user = TtyUser(product, devices[0], product.wait_attached(devices[0])[0])
    user.talk()
    user.end()


def test_the_vm_loses_power_and_the_device_is_soon_free_on_the_pi(product):
    """A stock usbipd keeps it busy for hours."""
    device = product.lab.plug("ft232", "A1", serial="FREE")
    product.wait_attached(device)
    limit = measure_limit(product, device)
    t = time.monotonic()
    product.vm.power_off()
    path = f"{device.sysfs}/usbip_status"
    wait_until(lambda: product.pi.sh(f"cat {path}", check=False) == USBIP_STATUS_AVAILABLE, limit + 20, "the device to be free",
               interval=0.05)
    took = time.monotonic() - t
    print(f"\nfree after {took:.2f} s")
    assert took <= limit


def test_the_pi_loses_power_and_a_reader_on_the_vm_ends(product):
    device = product.lab.plug("ft232", "A1", serial="READ")
    product.wait_attached(device)
    limit = measure_limit(product, device)
    (node,) = product.wait_attached(device)
    user = TtyUser(product, device, node)
    user.talk()
    t = time.monotonic()
    product.pi.power_off()
    user.wait_end(limit)
    wait_until(lambda: not product.used_ports(), limit, "the port to be free", interval=0.05)
    took = time.monotonic() - t
    print(f"\nread and close ended, and the port was free, after {took:.2f} s")
    assert took <= limit
