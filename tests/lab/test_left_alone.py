"""What is plugged into the Pi and is no serial device stays the Pi's, and works there."""
import pytest

from usbpush_lab import wait_until


def driver_of(product, device):
    """The drivers of its interfaces on the Pi."""
    return product.pi.sh(f"for d in {device.sysfs}/{device.busid}:*/driver; do basename $(readlink $d); done").split()


def explained(product, device):
    """Its line in `usbpush devices --explain`."""
    lines = product.pi.sh("usbpush devices --explain").splitlines()
    return next(line for line in lines if line.split()[0] == device.busid)


def wait_works_on_pi(product, device, what):
    """what: a path below the device's own directory that its driver makes."""
    wait_until(lambda: product.pi.sh(f"ls -d {device.sysfs}/{what}", check=False), 60,
               f"the Pi's own driver to make {what} of the {device.kind}", interval=0.2, lab=product.lab)


CASES = {
    "hub": ("hub", "*:1.0/*-port1", "a hub"),
    "keyboard": ("usbhid", "*:1.0/*/input/input*", "no serial driver"),
    "disk": ("usb-storage", "*:1.0/host*/target*/*/block/sd?", "no serial driver"),
    "net": ("", "*:*/net/*", "network"),
}


@pytest.fixture
def others(product):
    """One of each, plugged in at once."""
    return [product.lab.plug(kind, socket) for kind, socket in zip(CASES, ("A1", "A2", "B1", "C1"))]


def test_hub_keyboard_disk_and_network_adapter_keep_their_drivers(product, others):
    for device in others:
        driver, path, why = CASES[device.kind]
        product.wait_device(device, "IGNORED")
        wait_works_on_pi(product, device, path)
        assert driver in " ".join(driver_of(product, device))
        assert why in explained(product, device)
    assert product.bound_busids() == [] and product.matched_busids() == []
    assert product.used_ports() == {}


@pytest.mark.parametrize("kind", [kind for kind in CASES])
def test_in_the_socket_where_a_serial_device_was_a_moment_before(product, kind):
    """An entry of the kernel's match_busid table speaks of a socket, not of a device."""
    adapter = product.lab.plug("ft232", "A1", serial="BEFORE")
    product.wait_attached(adapter)
    adapter.unplug()
    device = product.lab.plug(kind, "A1")
    driver, path, why = CASES[kind]
    product.wait_device(device, "IGNORED")
    wait_works_on_pi(product, device, path)
    assert why in explained(product, device)
    wait_until(lambda: product.matched_busids() == [], 30, "no entry left in match_busid", lab=product.lab)
    product.wait_nothing_attached()
    assert product.bound_busids() == []


def test_an_adapter_behind_a_hub_is_shared_and_the_hub_is_not(product):
    before = product.leftovers_at_rest()
    hub = product.lab.plug("hub", "A1")
    adapter = product.lab.plug("ft232", "A1.2", serial="BEHIND")
    product.wait_attached(adapter)
    assert adapter.busid == "1-1.2"
    assert product.bound_busids() == product.matched_busids() == ["1-1.2"]
    assert product.device(hub.busid)["state"] == "IGNORED"

    hub.unplug()
    wait_until(lambda: product.leftovers() == before, 60, f"everything to be as before: {before}", interval=0.3, lab=product.lab)
    wait_until(lambda: product.status().get("devices") == [], 30, "the Pi to forget the hub", lab=product.lab)
