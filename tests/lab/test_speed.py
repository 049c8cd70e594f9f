"""How fast and how quiet. Ratios in one run, never seconds: machines are noisy."""
import statistics
import time

import pytest

from usbpush_lab import wait_until
from usbpush_lab.floor import measure_floor

pytestmark = pytest.mark.alone

N = 10


def plug_to_tty(product, n):
    """Seconds from the plug to the kernel's tty on the VM, n times; the first one, which loads drivers, does not count."""
    times = []
    for i in range(n + 1):
        device = product.lab.plug("ft232", "A1", serial="SPEED")
        tty = product.vm.events.wait(since=device.t, action="add", subsystem="tty", name="ttyUSB*", timeout=60)
        entry = product.wait_device(device)
        if i:
            times.append(tty["t"] - device.t)
            print(f"{times[-1]:.3f} s  pi {entry['steps_ms']}  vm {entry['vm']['steps_ms']}")
        device.unplug()
        product.wait_nothing_attached()
        product.pi.sh("udevadm settle")
        product.vm.sh("udevadm settle")
    return times


def let_high_speed_devices_come_and_go(product):
    """vhci's ports remember the speed of the device that went (vm/vhci.c, own_rows): a full-speed one on such a port would take a quarter of a second more."""
    boards = [product.lab.plug("acm", socket, serial=socket) for socket in ("G1", "G2", "G3", "G4")]
    product.wait_attached(*boards)
    product.lab.unplug_all()
    product.wait_nothing_attached()


def test_a_plug_is_a_tty_at_most_a_quarter_later_than_the_kernels_allow(product, record_property):
    floor = measure_floor(product.lab, N // 2, socket="A2")  # half of it before and half after ours: a machine that becomes busier is so for both
    product.wait_link("UP")
    let_high_speed_devices_come_and_go(product)
    ours = plug_to_tty(product, N)
    floor = measure_floor(product.lab, N // 2, socket="A2", before=floor)
    ratio = statistics.median(ours) / floor.floor
    print(f"\n{floor}\nusbpush: plug -> tty (VM), median of {N}  {statistics.median(ours):.3f} s"
          f"  ({min(ours):.3f} .. {max(ours):.3f})\nratio {ratio:.2f}")
    record_property("ratio", ratio)
    assert ratio <= 1.25


def wakeups(guest, pid):
    """How often the process went to sleep so far, over all its threads."""
    return int(guest.sh(f"cat /proc/{pid}/task/*/status | awk '/^voluntary_ctxt_switches/ {{ n += $2 }} END {{ print n }}'"))


def test_idle_with_four_devices_it_hardly_wakes_and_is_small(product):
    devices = [product.lab.plug("ft232", socket, serial=socket) for socket in ("A1", "A2", "B1", "B2")]
    product.wait_attached(*devices)
    wait_until(lambda: product.relays() == 6, 30, "the stream for the next plug to be open: then it is idle", interval=0.5, lab=product.lab)
    pid = product.pid(product.pi, "usbpush-exporter")

    t, before = time.monotonic(), wakeups(product.pi, pid)
    time.sleep(30)  # the span that is measured, not a wait for something
    rate = (wakeups(product.pi, pid) - before) / (time.monotonic() - t)
    resident = int(product.pi.sh(f"awk '/^VmRSS/ {{ print $2 }}' /proc/{pid}/status"))
    print(f"\nidle with 4 devices: {rate:.2f} wake-ups a second, {resident} kB resident")
    assert rate <= 1
    assert resident < 12 * 1024
