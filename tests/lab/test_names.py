"""Which devices go to the VM, and what they are called there: rules of the owner on both sides, names that last."""
import json

import pytest

from usbpush_lab import wait_until

DEVICES, ACCEPT = "/etc/usbpush/devices.conf", "/etc/usbpush/accept.conf"


@pytest.fixture
def owner(product):
    """Machines whose owner has no rules yet; afterwards they have none again."""
    def forget():
        product.pi.sh(f"rm -f {DEVICES}")
        product.vm.sh(f"rm -f {ACCEPT}")
    forget()
    yield product
    product.lab.unplug_all()
    forget()


def link(product, name):
    """Where /dev/usbpush/NAME leads on the VM, or None."""
    return str(product.vm.sh(f"readlink -f /dev/usbpush/{name}", check=False)) if product.vm.exists(f"/dev/usbpush/{name}") else None


def wait_link(product, name, device):
    """Until the name leads to the node of that device."""
    def leads():
        entry = product.device(device.busid)
        nodes = (entry and entry["vm"] or {}).get("nodes") or []
        return entry and entry["state"] == "ATTACHED" and nodes and link(product, name) == nodes[0]
    wait_until(leads, 90, f"/dev/usbpush/{name} to lead to {device.socket}'s node", interval=0.3, lab=product.lab)


def test_a_name_comes_with_the_node_and_outlasts_sockets_and_reboots(owner):
    product, lab = owner, owner.lab
    left, right = lab.plug("ft232", "A1", serial="LEFT"), lab.plug("ft232", "B1", serial="RIGHT")
    product.wait_attached(left, right)
    for device, name in ((left, "board"), (right, "probe")):
        product.pi.sh(f"usbpush name {device.busid} {name}")
        wait_link(product, name, device)

    # In one event of udev's with the node: whoever waits for one has both.
    left.unplug()
    left = left.plug_again()
    event = product.vm.events.wait(since=left.t, kind="udev", action="add", subsystem="tty", name="ttyUSB*", timeout=60)
    assert "/dev/usbpush/board" in event["devlinks"].split()

    # Who searches the journal finds it by that name.
    wait_link(product, "board", left)
    assert " -> ATTACHED: " in product.pi.sh("journalctl --sync; journalctl -b -u usbpush-exporter -o cat USBPUSH_NAME=board USBPUSH_STATE=ATTACHED")
    assert ", attached as " in product.vm.sh("journalctl --sync; journalctl -b -u usbpush-handler -o cat USBPUSH_NAME=board USBPUSH_STATE=attached")

    # Both change places.
    left.unplug(), right.unplug()
    product.wait_nothing_attached()
    left, right = left.plug_again("B1"), right.plug_again("A1")
    wait_link(product, "board", left)
    wait_link(product, "probe", right)

    product.vm.reboot()
    product.wait_attached(left, right, timeout=240)
    wait_link(product, "board", left)
    wait_link(product, "probe", right)
    rules = product.pi.sh(f"cat {DEVICES}")
    assert "name=board" in rules and "name=probe" in rules


def test_without_a_name_it_has_one_of_product_and_serial(owner):
    device = owner.lab.plug("ft232", "A1", serial="PLAIN")
    owner.wait_attached(device)
    names = owner.vm.sh("ls /dev/usbpush").split()
    assert len(names) == 1 and "PLAIN" in names[0], names
    wait_link(owner, names[0], device)


def test_ignore_and_share_act_at_once_and_keep_what_the_owner_wrote(owner):
    product = owner
    product.pi.write(DEVICES, "# my boards\n\nignore 1234:*   # never\n")
    device = product.lab.plug("ft232", "A1", serial="MINE")
    product.wait_attached(device)
    product.pi.sh(f"usbpush ignore {device.busid}")
    product.wait_device(device, "IGNORED")
    product.wait_nothing_attached()
    wait_until(lambda: product.pi.exists("/dev/ttyUSB0"), 60, "the Pi's own tty", lab=product.lab)
    explained = product.pi.sh("usbpush devices --explain")
    assert DEVICES in explained and "ignore" in explained
    product.pi.sh(f"usbpush share {device.busid}")
    product.wait_attached(device)
    text = product.pi.sh(f"cat {DEVICES}")
    assert "# my boards" in text and "ignore 1234:*   # never" in text


def test_a_rule_that_waits_for_a_yes_waits_for_it(owner):
    product = owner
    product.pi.write(DEVICES, "ask serial=ASKS\n")
    device = product.lab.plug("ft232", "A1", serial="ASKS")
    entry = wait_until(lambda: (d := product.device(device.busid)) and d.get("is_asking") and d, 30, "the device to ask", lab=product.lab)
    assert entry["state"] == "IGNORED" and product.used_ports() == {}
    product.pi.sh(f"usbpush attach {device.busid}")
    product.wait_attached(device)


def test_a_keyboard_goes_over_only_when_both_sides_say_so(owner):
    product = owner
    keyboard = product.lab.plug("keyboard", "A2")
    keyboard.wait_event("bind")
    product.wait_device(keyboard, "IGNORED")
    product.pi.sh(f"usbpush share {keyboard.busid}")
    entry = product.wait_failed(keyboard, "not-accepted")
    assert "accept.conf" in entry["error"]["cure"], json.dumps(entry["error"])
    assert product.vm.sh("ls /sys/bus/usb/drivers/usbhid 2>/dev/null | grep -c : || true") == "0", "no driver of the VM saw it"

    product.vm.write(ACCEPT, "accept class=keyboard\n")
    product.wait_device(keyboard, "ATTACHED", timeout=90)
    wait_until(lambda: product.vm.sh("grep -c 'QEMU USB Keyboard' /proc/bus/input/devices || true") != "0", 60, "the keyboard on the VM", lab=product.lab)


def test_a_line_that_makes_no_sense_is_told_and_changes_nothing(owner):
    product = owner
    device = product.lab.plug("ft232", "A1", serial="STAYS")
    product.wait_attached(device)
    product.pi.write(DEVICES, "ignore\n")
    problem = wait_until(lambda: product.status().get("problem"), 30, "the broken line to be told", lab=product.lab)
    assert f"{DEVICES}:1" in problem["text"], problem
    assert product.device(device.busid)["state"] == "ATTACHED"
    product.pi.write(DEVICES, "# nothing\n")
    wait_until(lambda: not product.status().get("problem"), 30, "the problem to be gone", lab=product.lab)
    assert product.device(device.busid)["attached_count"] == 1
