"""A machine sleeps or stands still, with devices attached and a tty open: the other one lets go, nothing hangs, and all is back by itself.

Asleep: suspended to memory by systemd, woken by its power button. Paused: its hypervisor stops it, and it never learns."""
import time

import pytest

from test_cut import PATIENCE, let_pass, measure_limit
from test_stop import assert_nothing_hangs
from tty_user import TtyUser
from usbpush_lab import wait_until

pytestmark = pytest.mark.alone


@pytest.fixture
def two(product):
    devices = [product.lab.plug("ft232", "A1", serial="ONE"), product.lab.plug("ft232", "B2", serial="TWO")]
    product.wait_attached(*devices)
    return product, devices


@pytest.fixture
def used(two):
    """The same, and a program has the tty of the first open."""
    product, devices = two
    user = TtyUser(product, devices[0], product.wait_attached(devices[0])[0])
    user.talk()
    yield product, devices, user
    for guest in (product.pi, product.vm):
        guest.bring_round()


def assert_all_is_well(product, devices):
    """Each once, of use, and nothing waits for the kernel."""
    nodes = product.wait_attached(*devices)
    assert len(product.used_ports()) == len(devices)
    for guest in (product.pi, product.vm):
        assert_nothing_hangs(guest)
    for device, node in zip(devices, nodes):
        user = TtyUser(product, device, node)
        user.talk()
        user.end()


def wait_back(product, devices, since):
    """Until all have their nodes again; the seconds from `since` to the last of them."""
    def come():
        return product.vm.events.find(since, kind="udev", action="add", subsystem="tty")

    ttys = wait_until(lambda: len(found := come()) >= len(devices) and found, 120, "the ttys", interval=0.2, lab=product.lab)
    product.wait_attached(*devices)
    assert len(come()) == len(devices), "each was attached once"
    return ttys[-1]["t"] - since


def wait_free_on_pi(product, device, since, limit):
    path = f"{device.sysfs}/usbip_status"
    wait_until(lambda: product.pi.sh(f"cat {path}", check=False) == "1", limit, "the device to be free", interval=0.05, lab=product.lab)
    return time.monotonic() - since


@pytest.mark.parametrize("seconds", [PATIENCE / 2, PATIENCE + 4])
def test_the_vm_sleeps_and_has_all_back_when_it_wakes(used, seconds):
    """Its kernel would not let it sleep with a device attached: so they go before it does, however short it sleeps."""
    product, devices, user = used
    asked = time.monotonic()
    asleep = product.vm.suspend()
    free = wait_free_on_pi(product, devices[0], asked, 30)
    let_pass(seconds)
    woken = product.vm.wake()
    user.wait_end(30)
    back = wait_back(product, devices, woken)
    print(f"\nasleep {asleep - asked:.2f} s after it was asked to be, free on the Pi after {free:.2f} s; back {back:.2f} s after it was woken")
    assert product.vm.sh("systemctl show -P Result systemd-suspend.service") == "success"
    assert_all_is_well(product, devices)


def test_the_pi_sleeps_and_the_vm_lets_go_and_has_all_back_when_it_wakes(used):
    product, devices, user = used
    limit = measure_limit(product, devices[1])
    asleep = product.pi.suspend()
    user.wait_end(limit)
    wait_until(lambda: not product.used_ports(), limit, "the ports to be free", interval=0.05, lab=product.lab)
    free = time.monotonic() - asleep
    assert free <= limit
    let_pass(5)
    woken = product.pi.wake()
    print(f"\nfree on the VM after {free:.2f} s; back {wait_back(product, devices, woken):.2f} s after the Pi was woken")
    assert_all_is_well(product, devices)


@pytest.mark.parametrize("who", ["pi", "vm"])
def test_a_short_pause_is_not_seen(used, who):
    product, devices, user = used
    counts, attempts = [product.device(d.busid)["attached_count"] for d in devices], product.link()["attempts"]
    product.lab.guest(who).pause()
    let_pass(PATIENCE / 2)
    product.lab.guest(who).go_on()
    user.talk()
    user.end()
    assert [product.device(d.busid)["attached_count"] for d in devices] == counts
    assert product.link()["attempts"] == attempts, "the same connection"


@pytest.mark.parametrize("who", ["pi", "vm"])
def test_a_long_pause_is_a_long_cut(used, who):
    """The other side lets go meanwhile; who was paused finds out when it goes on."""
    product, devices, user = used
    limit = measure_limit(product, devices[1])
    paused = product.lab.guest(who).pause()
    if who == "pi":
        wait_until(lambda: not product.used_ports(), limit, "the ports to be free", interval=0.05, lab=product.lab)
        free = time.monotonic() - paused
    else:
        free = wait_free_on_pi(product, devices[0], paused, limit)
    assert free <= limit
    let_pass(3)
    went_on = product.lab.guest(who).go_on()
    user.wait_end(60)
    print(f"\nfree on the other side after {free:.2f} s; back {wait_back(product, devices, went_on):.2f} s after the {who} went on")
    assert_all_is_well(product, devices)
