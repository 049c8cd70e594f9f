"""Plug and unplug: what a person sees first."""
import hashlib
import json
import pathlib
import random

import jsonschema
import pytest

from usbpush_lab import wait_until

SCHEMA = pathlib.Path(__file__).resolve().parent.parent / "schema"


@pytest.mark.spine
def test_an_ft232_is_a_tty_on_the_vm_with_its_own_identity(product):
    device = product.lab.plug("ft232", "A1", serial="FT123")
    event = product.vm.events.wait(since=device.t, kind="udev", action="add", subsystem="tty", name="ttyUSB0", timeout=60)

    assert "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_FT123-if00-port0" in event["devlinks"].split()
    assert product.vm.sh("readlink -f /dev/serial/by-id/usb-*_FT123-if00-port0") == "/dev/ttyUSB0"
    entry = product.wait_device(device)
    on_pi = product.identity(product.pi, device.busid)
    assert on_pi == product.identity(product.vm, entry["vm"]["busid"])
    assert (on_pi["idVendor"], on_pi["idProduct"], on_pi["serial"]) == ("0403", "6001", "FT123")


def test_status_says_attached_and_where(product):
    device = product.lab.plug("ft232", "A1", serial="FT123")
    (node,) = product.wait_attached(device)

    for text in (product.pi.sh("usbpush status"), product.vm.sh("usbpush-vm status")):
        (line,) = [line for line in text.splitlines() if "0403:6001" in line]
        assert node in line and "attached" in line.lower()
        assert "\033" not in text, "no colours where there is no terminal"


def test_status_json_is_what_the_schemas_promise(product):
    device = product.lab.plug("ft232", "A1", serial="FT123")
    product.wait_attached(device)
    product.lab.plug("keyboard", "A2").wait_event("bind")
    product.wait_device("1-2", "IGNORED")

    for name, status in (("usbpush-status", product.status()), ("usbpush-vm-status", product.vm_status())):
        jsonschema.validate(status, json.loads((SCHEMA / f"{name}.json").read_text()))
    assert product.status()["devices"][0]["vm"]["nodes"] == ["/dev/ttyUSB0"]
    assert product.vm_status()["pis"][0]["devices"][0]["nodes"] == ["/dev/ttyUSB0"]


@pytest.mark.spine
def test_a_quarter_of_a_megabyte_each_way_arrives_whole(product):
    data = random.Random(1).randbytes(256 * 1024)
    digest = hashlib.sha256(data).hexdigest()
    device = product.lab.plug("ft232", "A1", serial="FT123")
    (node,) = product.wait_attached(device)
    product.vm.sh(f"stty -F {node} 3000000 raw -echo")

    reader = product.vm.spawn(f"exec 3<{node}; echo open; head -c {len(data)} <&3 | sha256sum")
    wait_until(lambda: b"open" in reader.out, 20, "the reader to open the tty")
    device.wire.write(data)
    reader.wait(timeout=120)
    assert bytes(reader.out).split()[1].decode() == digest, "from the device to the VM"

    product.vm.sh(f"cat > {node}", stdin=data, timeout=120)
    assert hashlib.sha256(device.wire.read(len(data), timeout=120)).hexdigest() == digest, "from the VM to the device"


@pytest.mark.spine
def test_unplug_leaves_nothing_on_either_side(product):
    before = product.leftovers_at_rest()
    device = product.lab.plug("ft232", "A1", serial="FT123")
    product.wait_attached(device)

    t = device.unplug()
    product.vm.events.wait(since=t, action="remove", subsystem="tty", name="ttyUSB0", timeout=30)
    wait_until(lambda: product.leftovers() == before, 30, f"everything to be as before: {before}", interval=0.3, lab=product.lab)
    assert not product.vm.exists("/dev/ttyUSB0")
    wait_until(lambda: product.device("1-1") is None, 30, "the Pi to forget it", lab=product.lab)


def test_twenty_plugs_in_many_sockets_leak_nothing(product):
    before = product.leftovers_at_rest()
    sockets = ["A1"] * 8 + ["A2", "A3", "B1", "A1", "C4", "A2", "D1", "A1", "B7", "C1", "C1", "A1"]
    for i, socket in enumerate(sockets):
        device = product.lab.plug("ft232", socket, serial=f"S{i}")
        product.wait_attached(device)
        device.unplug()
        product.wait_nothing_attached()
    wait_until(lambda: product.leftovers() == before, 30, f"everything to be as before: {before}", interval=0.3, lab=product.lab)


def test_a_board_that_reenumerates_is_back_each_time(product):
    """As an ESP32-S3 does at each reset: its USB is in the chip."""
    before = product.leftovers_at_rest()
    board = product.lab.plug("acm", "G1", serial="S3")
    product.wait_attached(board)
    link = product.vm.sh("ls /dev/serial/by-id/")
    assert "S3" in link

    for _ in range(50):
        t = board.reenumerate()
        product.vm.events.wait(since=t, kind="kernel", action="remove", subsystem="tty", timeout=30)
        event = product.vm.events.wait(since=t, kind="udev", action="add", subsystem="tty", timeout=60)
        assert f"/dev/serial/by-id/{link}" in event["devlinks"].split()
    wait_until(lambda: len(product.used_ports()) == 1, 30, "one port in use", lab=product.lab)
    board.unplug()
    wait_until(lambda: product.leftovers() == before, 30, f"everything to be as before: {before}", interval=0.3, lab=product.lab)
