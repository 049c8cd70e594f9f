"""A board that hangs: the owner resets it, or takes its power, and it is of use again without a hand on the cable."""
import time

import pytest

from tty_user import TtyUser
from usbpush_lab import wait_until


def devnum(product, device):
    return int(product.pi.sh(f"cat /sys/bus/usb/devices/{device.busid}/devnum"))


def reset(product, device, *options):
    """Asks for it, and waits until the device was away from the VM and is back; its node."""
    asked = time.monotonic()
    product.pi.sh(["usbpush", "reset", device.busid, *options])
    product.vm.events.wait(since=asked, kind="udev", action="remove", subsystem="tty", timeout=60)
    (node,) = product.wait_attached(device)
    return node


@pytest.mark.parametrize("options", [(), ("--hard",)], ids=["reset", "hard"])
def test_a_board_is_reset_and_is_of_use_again(product, options):
    """In a socket of a root hub that switches no power, as it says: --hard binds it anew there."""
    device = product.lab.plug("ft232", "A1", serial="HANGS")
    (node,) = product.wait_attached(device)
    before = devnum(product, device)
    user = TtyUser(product, device, reset(product, device, *options))
    user.talk()
    user.end()
    assert devnum(product, device) == before, "its hub never lost sight of it"
    assert product.device(device.busid)["reset_count"] == 1


def test_the_power_of_a_socket_is_taken_and_given_back(product):
    """dummy_hcd's root hub switches each port: the board goes and comes, as by an unplug."""
    board = product.lab.plug("acm", "G1", serial="DARK")
    neighbour = product.lab.plug("acm", "G2", serial="STAYS")
    product.wait_attached(board, neighbour)
    before, attached = devnum(product, board), product.device(neighbour.busid)["attached_count"]
    reset(product, board, "--hard")
    assert devnum(product, board) != before, "it was enumerated anew"
    assert product.device(neighbour.busid)["attached_count"] == attached
    wait_until(lambda: len(product.used_ports()) == 2, 30, "two ports in use", lab=product.lab)
