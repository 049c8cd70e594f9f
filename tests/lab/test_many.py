"""Devices that the exporter carries by itself: by a rule, and as many as there are beyond usbip-host's sixteen."""
import hashlib
import random
import time

import pytest

from tty_user import TtyUser
from usbpush_lab import wait_until

RULES, ACCEPT = "/etc/usbpush/devices.conf", "/etc/usbpush/accept.conf"
USBIP_HOST_MAX = 16  # MAX_BUSID in drivers/usb/usbip/stub.h
SOCKETS = [f"{letter}{n}" for letter in "ABCD" for n in range(1, 16)]


@pytest.fixture
def by_usbfs(product):
    product.pi.write(RULES, "default 0403:6001 backend=usbfs\nshare class=storage backend=usbfs\nshare class=audio backend=usbfs\n")
    yield product
    product.lab.unplug_all()
    product.pi.sh(f"rm -f {RULES}")
    product.vm.sh(f"rm -f {ACCEPT}")


def driver_on_pi(product, device):
    return product.pi.sh(f"basename $(readlink /sys/bus/usb/devices/{device.busid}:1.0/driver || echo none)")


def test_an_ft232_by_usbfs_is_as_good_as_any(by_usbfs):
    product, data = by_usbfs, random.Random(1).randbytes(128 * 1024)
    before = product.leftovers_at_rest()
    device = product.lab.plug("ft232", "A1", serial="OURS")
    (node,) = product.wait_attached(device)
    assert product.device(device.busid)["backend"] == "usbfs" and driver_on_pi(product, device) == "usbfs"
    assert not product.matched_busids()

    product.vm.sh(f"stty -F {node} 3000000 raw -echo")
    reader = product.vm.spawn(f"exec 3<{node}; echo open; head -c {len(data)} <&3 | sha256sum")
    wait_until(lambda: b"open" in reader.out, 20, "the reader to open the tty")
    device.wire.write(data)
    reader.wait(timeout=120)
    assert bytes(reader.out).split()[1].decode() == hashlib.sha256(data).hexdigest(), "from the device to the VM"
    product.vm.sh(f"cat > {node}", stdin=data, timeout=120)
    assert device.wire.read(len(data), timeout=120) == data, "from the VM to the device"

    user = TtyUser(product, device, node)
    user.talk()
    product.lab.wire.cut()
    time.sleep(3)  # the span of the cut, shorter than the patience
    product.lab.wire.heal()
    user.talk()
    asked = time.monotonic()
    product.pi.sh(["usbpush", "reset", device.busid])
    product.vm.events.wait(since=asked, kind="udev", action="remove", subsystem="tty", timeout=60)
    user.wait_end()
    user = TtyUser(product, device, product.wait_attached(device)[0])
    user.talk()
    product.pi.sh("systemctl kill -s KILL usbpush-exporter")
    user.wait_end()
    product.wait_link("UP")
    user = TtyUser(product, device, product.wait_attached(device)[0])
    user.talk()
    device.unplug()
    user.wait_end()
    product.wait_nothing_attached()

    device = device.plug_again()
    product.wait_attached(device)
    product.pi.sh(["usbpush", "detach", device.busid])
    product.wait_nothing_attached()
    wait_until(lambda: driver_on_pi(product, device) == "ftdi_sio", 30, "the Pi's own driver to have it", lab=product.lab)
    device.unplug()
    wait_until(lambda: not product.device(device.busid) and not product.used_ports(), 30, "nothing to be left", lab=product.lab)
    wait_until(lambda: product.leftovers() == before, 60, f"everything to be as before: {before}", interval=0.3, lab=product.lab)


def test_a_disk_by_usbfs_has_what_the_vm_writes(by_usbfs):
    """Bulk both ways at SuperSpeed, in transfers as large as they come; and pulled while it is written it is an error, no hang."""
    product, data = by_usbfs, random.Random(7).randbytes(4 << 20)
    product.lab.disk_file("A1").write_bytes(bytes(64 << 20))
    product.vm.write(ACCEPT, "accept class=storage\naccept class=audio\n")
    device = product.lab.plug("disk", "A1", serial="STICK")
    product.wait_device(device, "ATTACHED", timeout=90)
    assert product.device(device.busid)["backend"] == "usbfs"
    node = wait_until(lambda: product.vm.sh("ls /dev/disk/by-id/usb-*STICK* 2>/dev/null | head -1", check=False), 60, "the disk on the VM", lab=product.lab)
    product.vm.sh(f"dd of={node} bs=1M iflag=fullblock oflag=direct status=none", stdin=data, timeout=300)
    read = product.vm.sh(f"dd if={node} bs=1M count=4 iflag=direct status=none | sha256sum", timeout=300)
    assert read.split()[0] == hashlib.sha256(data).hexdigest()
    stat = f"cat /sys/block/$(basename $(readlink -f {node}))/stat"
    before = int(product.vm.sh(stat).split()[4])
    writer = product.vm.spawn(f"exec dd if=/dev/zero of={node} bs=64k seek={len(data) >> 16} oflag=direct")
    wait_until(lambda: int(product.vm.sh(stat).split()[4]) > before + 4, 60, "some of it to be written", interval=0.1)
    device.unplug()
    assert writer.wait(60) != 0 and b"error" in writer.err.lower(), bytes(writer.err)
    product.wait_nothing_attached()
    with open(product.lab.disk_file("A1"), "rb") as f:
        assert hashlib.sha256(f.read(len(data))).hexdigest() == hashlib.sha256(data).hexdigest(), "what was written before is still there"


def test_forty_devices_are_attached_at_once_and_gone_at_once(product):
    before = product.leftovers_at_rest()
    pid = product.pid(product.pi, "usbpush-exporter")
    started = time.monotonic()
    devices = [product.lab.plug("ft232", socket, serial=f"MANY{i}") for i, socket in enumerate(SOCKETS[:40])]
    plugged = time.monotonic()

    def all_attached():
        status = product.status().get("devices", [])
        return [bool(d["state"] == "ATTACHED" and d["vm"]["nodes"]) for d in status].count(True) == len(devices) and status

    status = wait_until(all_attached, 300, f"{len(devices)} to be attached with a node", interval=1, lab=product.lab)
    attached = time.monotonic()
    assert sorted(d["serial"] for d in status) == sorted(d.options["serial"] for d in devices)
    assert [d["backend"] for d in status].count("usbip-host") == USBIP_HOST_MAX
    assert len({n for d in status for n in d["vm"]["nodes"]}) == len(devices)
    controllers = product.vm.sh("ls -d /sys/devices/platform/vhci_hcd.*/usb*/*-* | cut -d/ -f5 | sort | uniq -c")
    assert len(controllers.splitlines()) > 1

    last = devices[-1]
    user = TtyUser(product, last, product.device(last.busid)["vm"]["nodes"][0])
    user.talk()
    memory = product.pi.sh(f"awk '/^VmRSS/ {{ print $2 }}' /proc/{pid}/status")
    ticks = sum(map(int, product.pi.sh(f"cut -d' ' -f14,15 /proc/{pid}/stat").split()))
    product.lab.unplug_all()
    unplugged = time.monotonic()
    user.wait_end()
    product.wait_nothing_attached(timeout=180)
    gone = time.monotonic()
    print(f"\n{len(devices)} devices: plugged within {plugged - started:.1f} s, all attached {attached - started:.1f} s after the first plug; "
          f"the last port free {gone - unplugged:.1f} s after the last unplug; exporter {memory} kB, {ticks} ticks; {controllers.split()}")
    wait_until(lambda: product.leftovers() == before, 60, f"everything to be as before: {before}", interval=0.5, lab=product.lab)
