"""Reboots and power losses, clean and not: what was attached is attached again, and nobody did anything."""
import re
import time

import pytest

from tty_user import TtyUser
from usbpush_lab import wait_until

BOOT_SERVICE = "usbpush-boot-attach"


class Four:
    """Two adapters in different controllers and two boards, attached; and that they are so again."""

    def __init__(self, product):
        self.product, self.pi, self.vm = product, product.pi, product.vm
        self.devices = [product.lab.plug("ft232", "A1", serial="ONE"), product.lab.plug("ft232", "B2", serial="TWO"),
                        product.lab.plug("acm", "G1", serial="THREE"), product.lab.plug("acm", "G2", serial="FOUR")]
        product.wait_attached(*self.devices)
        self.links = self.wait_links(4)

    def wait_links(self, n):
        look = "ls /dev/serial/by-id/"
        return wait_until(lambda: (links := self.vm.sh(look, check=False).split()) and len(links) == n and links, 60,
                          f"{n} links below /dev/serial/by-id", interval=0.5, lab=self.product.lab)

    def wait_back(self):
        """All four, each once, under the same links, and of use."""
        nodes = self.product.wait_attached(*self.devices)
        assert self.wait_links(4) == self.links
        assert len(self.product.used_ports()) == 4
        # The boards of dummy_hcd are told by their links: what the lab writes to their /dev/ttyGS* while their reset hangs it up is lost there.
        for device, node in zip(self.devices, nodes):
            if device.kind != "ft232":
                continue
            user = TtyUser(self.product, device, node)
            user.talk()
            user.end()

    def most_at_once(self, since, there):
        """How many devices the VM's kernel had at one moment at most, by its events; there: its bus ids at the beginning."""
        there, most = set(there), len(there)
        for event in self.vm.events.find(since, kind="kernel", devtype="usb_device", devpath="*/vhci_hcd.*/*-*"):
            busid = event["devpath"].rsplit("/", 1)[-1]
            if event["action"] == "add":
                there.add(busid)
            elif event["action"] == "remove":
                there.discard(busid)
            most = max(most, len(there))
        return most

    def wait_boot_service(self):
        """Until it has ended; then how."""
        def state():
            lines = self.vm.sh(f"systemctl show -p ActiveState -p SubState -p ExecMainStatus {BOOT_SERVICE}").splitlines()
            found = dict(text.split("=") for text in lines)
            return found["ActiveState"] not in ("activating", "inactive") and found
        return wait_until(state, 120, f"{BOOT_SERVICE} to end", interval=0.5, lab=self.product.lab)


WELL = {"ActiveState": "active", "SubState": "exited", "ExecMainStatus": "0"}


@pytest.fixture
def four(product):
    return Four(product)


HOW = pytest.mark.parametrize("is_clean", [pytest.param(False, id="reset"), pytest.param(True, id="systemctl_reboot", marks=pytest.mark.spine)])


@HOW
def test_the_vm_reboots_and_the_boot_service_has_all_four_back(four, is_clean):
    t = four.vm.reboot(clean=is_clean)
    assert four.wait_boot_service() == WELL
    assert len(four.product.used_ports()) == 4, "when the boot service is through, all are there"
    four.wait_back()
    assert four.most_at_once(t, there=[]) == 4


@HOW
def test_the_pi_reboots_and_all_four_are_back(four, is_clean):
    there = four.product.used_ports().values()
    t = four.pi.reboot(clean=is_clean)
    four.wait_back()
    assert four.most_at_once(t, there) == 4


STOP_LIMIT = 60  # seconds; a unit that hangs in its stop has 90 by default


class Shutdown:
    """A guest is told to shut down, and nothing holds it up."""

    def __init__(self, guest):
        self.guest, self.asked = guest, time.monotonic()
        self._before = len(guest.console(100_000))
        guest.sh("systemctl poweroff --no-block", check=False)

    def wait_off(self):
        wait_until(lambda: not self.guest.is_on(), STOP_LIMIT, f"{self.guest.name} to be off", interval=0.2, lab=self.guest.lab)
        said = self.guest.console(100_000)[self._before:]
        assert not re.search(r"A stop job is running|timed out|blocked for more than|Call Trace|BUG:", said), said[-3000:]
        return time.monotonic() - self.asked


def test_both_are_shut_down_in_either_order_and_nothing_hangs(four):
    """A shutdown says so: the other side is free at once, and needs no patience for it."""
    product, pi, vm, device = four.product, four.pi, four.vm, four.devices[0]
    user = TtyUser(product, device, product.wait_attached(device)[0])
    user.talk()
    shutdown = Shutdown(pi)
    user.wait_end(STOP_LIMIT)
    product.wait_nothing_attached()
    times = {"the VM had nothing of the Pi after": time.monotonic() - shutdown.asked, "the Pi was off after": shutdown.wait_off()}
    assert "nothing was heard" not in vm.sh("journalctl -b -u usbpush-handler -o cat -n 20"), "the Pi said so"
    times["the VM was off after"] = Shutdown(vm).wait_off()
    vm.power_on(wait=False)
    pi.power_on()
    vm.wait_ready()
    four.wait_back()

    user = TtyUser(product, device, product.wait_attached(device)[0])
    user.talk()
    shutdown = Shutdown(vm)
    status = f"cat {device.sysfs}/usbip_status"
    wait_until(lambda: pi.sh(status, check=False) == "1", STOP_LIMIT, "the device to be free on the Pi", lab=product.lab)
    times["free on the Pi after"] = time.monotonic() - shutdown.asked
    times["with it in use, the VM was off after"] = shutdown.wait_off()
    times["and the Pi after"] = Shutdown(pi).wait_off()
    print("\n" + "; ".join(f"{what} {seconds:.2f} s" for what, seconds in times.items()))
    pi.power_on(wait=False)
    vm.power_on()
    pi.wait_ready()
    four.wait_back()


@pytest.fixture
def patient(product):
    """A boot service that waits longer than its 90 seconds: how long a Pi of this lab takes to boot is the machine's affair."""
    directory, program = f"/etc/systemd/system/{BOOT_SERVICE}.service.d", f"/usr/libexec/usbpush/{BOOT_SERVICE}"
    product.vm.sh(f"mkdir -p {directory}; printf '[Service]\\nExecStart=\\nExecStart={program} --timeout 280\\n' >{directory}/patient.conf; sync")
    yield
    product.vm.sh(f"rm -r {directory}; systemctl daemon-reload")


@pytest.mark.parametrize("first, second", [("pi", "vm"), ("vm", "pi")])
def test_both_lose_power_and_come_back_in_either_order(four, patient, first, second):
    lab = four.product.lab
    for guest in (four.pi, four.vm):
        guest.power_off()
    lab.guest(first).power_on()
    lab.guest(second).power_on()
    assert four.wait_boot_service() == WELL
    four.wait_back()


GATE = "/etc/systemd/system/usbpush-handler.service.d/gate.conf"
OPEN_GATE = "touch /run/gate"


def begun_at(link):
    """When the try began that brought the link up, at the latest, by this machine's clock at the moment of this status."""
    return time.monotonic() - (link["since_ms"] + link["steps_ms"]["sync"]) / 1000


def test_a_vm_that_boots_knocks_and_its_pi_does_not_wait_for_its_next_try(product):
    """Its sshd is up long before its handler, so that the Pi's pauses have grown to 8 s when it comes."""
    pi, vm, lab = product.pi, product.vm, product.lab

    def long_pause():
        asked = time.monotonic()
        next_try_ms = product.link().get("next_try_ms") or 0
        return next_try_ms > 5000 and asked + next_try_ms / 1000  # not before that it tries by itself

    wait_until(lambda: pi.address in vm.sh("cat /var/lib/usbpush-handler/addresses", check=False), 30, "the handler to keep the Pi's address", lab=lab)
    vm.sh(f"mkdir -p {GATE.rpartition('/')[0]}")
    vm.write(GATE, "[Service]\nTimeoutStartSec=infinity\nExecStartPre=+/bin/sh -c 'until [ -e /run/gate ]; do sleep 0.1; done'\n")
    try:
        vm.reboot(clean=True)
        announced = wait_until(long_pause, 120, "a pause of more than 5 s", interval=0.2, lab=lab)
        vm.sh(OPEN_GATE)
        begun = begun_at(product.wait_link("UP"))
    finally:
        vm.sh(f"{OPEN_GATE}; rm -f {GATE}; systemctl daemon-reload", check=False)
    print(f"\nthe try that brought the link up began {announced - begun:.2f} s before the one that the Pi had announced")
    assert begun < announced
