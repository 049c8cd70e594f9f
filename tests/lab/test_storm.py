"""Much at once: more plugs than the VM can follow, hubs pulled with all that is in them, devices that look alike, more than the kernel holds."""
import json

import pytest

from usbpush_lab import wait_until

SHORT_LIFE = 2  # s; SHORT_USEC in pi/flap.c
USBIP_HOST_MAX = 16  # MAX_BUSID in drivers/usb/usbip/stub_main.c


@pytest.fixture
def only_usbip_host(product):
    product.pi.write("/etc/usbpush/devices.conf", "default *:* backend=usbip-host\n")
    yield
    product.lab.unplug_all()
    product.pi.sh("rm -f /etc/usbpush/devices.conf")


def serials_on_vm(product):
    return sorted(product.vm.sh("cat /sys/devices/platform/vhci_hcd.*/usb*/*-*/serial 2>/dev/null || true").split())


def wait_serials(product, *serials, timeout=120):
    wait_until(lambda: serials_on_vm(product) == sorted(serials), timeout, f"the VM to have {sorted(serials)}", interval=0.5, lab=product.lab)


def wait_as_before(product, before):
    wait_until(lambda: product.leftovers() == before, 60, f"everything to be as before: {before}", interval=0.5, lab=product.lab)


def test_plugged_and_pulled_faster_than_the_vm_can_attach(product):
    before = product.leftovers_at_rest()
    device = product.lab.plug("ft232", "A1", serial="QUICK")
    for _ in range(15):
        device.unplug()
        device = device.plug_again()
    product.wait_attached(device)
    wait_serials(product, "QUICK")
    wait_until(lambda: len(product.used_ports()) == 1, 60, "one port in use", lab=product.lab)
    for _ in range(15):
        device.unplug()
        device = device.plug_again()
    device.unplug()
    product.wait_nothing_attached()
    wait_as_before(product, before)


def test_one_that_comes_and_goes_is_shown_as_such_and_a_board_that_is_reset_is_not(product):
    """It is not given up: once it stays it is attached. What esptool does to a board, twice in a row, is no flapping."""
    product.pi.sh("systemctl restart usbpush-exporter")  # which has seen none of them before
    product.wait_link("UP")
    board = product.lab.plug("acm", "G1", serial="BOARD")
    product.wait_attached(board)
    told = product.pi.spawn("exec usbpush events --follow --json")
    for _ in range(2):
        t = board.reenumerate()
        product.vm.events.wait(since=t, kind="udev", action="add", subsystem="tty", timeout=60)
        product.wait_attached(board)

    device, n_short = product.lab.plug("ft232", "A1", serial="LOOSE"), 0
    for _ in range(60):
        device.wait_event("bind")
        gone = device.unplug()
        lived = device.wait_event("remove", since=gone)["t"] - device.wait_event("add")["t"]
        n_short = n_short + 1 if lived < SHORT_LIFE / 2 else 0
        device = device.plug_again()
        if n_short == 8:  # in a row, by the Pi's own kernel: a life that a busy machine makes longer is none of a flapping device
            break
    assert n_short == 8
    wait_until(lambda: "comes and goes" in product.pi.sh("usbpush status"), 10, "the status to say so", interval=0, lab=product.lab)
    product.wait_attached(device)
    assert "comes and goes" not in product.pi.sh("usbpush status")

    told.kill()
    told.wait()
    said = [event for event in map(json.loads, told.out.decode().splitlines()) if "comes and goes" in event["text"]]
    assert said and {event["busid"] for event in said} == {device.busid}, said


def test_the_same_device_from_socket_to_socket(product):
    """However fast: in the end it is there once, from the socket that it is in."""
    device = product.lab.plug("ft232", "A1", serial="MOVES")
    for socket in ("A2", "B1", "C3", "A1", "A2"):
        device.unplug()
        device = device.plug_again(socket)
    product.wait_attached(device)
    wait_serials(product, "MOVES")
    assert list(product.bound_busids()) == [device.busid]


def test_two_devices_that_look_exactly_alike(product):
    """Same vendor, product and serial number: each is its own, and goes by itself."""
    twins = [product.lab.plug("ft232", socket, serial="TWIN") for socket in ("A1", "B1")]
    nodes = product.wait_attached(*twins)
    assert len(set(nodes)) == 2
    for number, (twin, node) in enumerate(zip(twins, nodes)):
        product.vm.sh(f"stty -F {node} 115200 raw -echo clocal; echo I am {number} > {node}")
        assert twin.wire.read_until(b"\n") == b"I am %d\n" % number
    twins[0].unplug()
    wait_serials(product, "TWIN")
    assert product.wait_attached(twins[1]) == [nodes[1]]
    product.vm.sh(f"echo still here > {nodes[1]}")
    assert twins[1].wire.read_until(b"\n") == b"still here\n"


def test_a_hub_with_seven_devices_is_pulled_and_put_back(product):
    before = product.leftovers_at_rest()
    hub = product.lab.plug("hub", "A3")
    serials = [f"SEVEN{i}" for i in range(1, 8)]
    devices = [product.lab.plug("ft232", f"A3.{i}", serial=serial) for i, serial in enumerate(serials, 1)]
    product.wait_attached(*devices, timeout=180)
    wait_serials(product, *serials)
    for device in devices:
        device.wire.close()
    hub.unplug()
    product.wait_nothing_attached()
    wait_as_before(product, before)


def test_more_devices_than_usbip_host_can_hold(product, only_usbip_host):
    """Where the owner wants no other carrier sixteen are shared; the others say why they are not; and one that leaves makes room for one that waits."""
    before = product.leftovers_at_rest()
    sockets = [f"{letter}{n}" for letter in "AB" for n in range(1, 10)]
    devices = [product.lab.plug("ft232", socket, serial=f"MANY{i}") for i, socket in enumerate(sockets)]

    def those(state):
        return {d["busid"]: d for d in product.status().get("devices", []) if d["state"] == state}

    # One that waits is tried again now and then, and is not FAILED for that moment.
    wait_until(lambda: len(those("ATTACHED")) == USBIP_HOST_MAX, 300, f"{USBIP_HOST_MAX} to be attached", interval=1, lab=product.lab)
    told = wait_until(lambda: len(failed := those("FAILED")) == len(devices) - USBIP_HOST_MAX and failed, 60, "the others to be told", interval=1,
                      lab=product.lab)
    assert len(serials_on_vm(product)) == USBIP_HOST_MAX
    for waiting in told.values():
        assert waiting["error"]["code"] == "table-full" and "16" in waiting["error"]["text"]
    attached = next(d for d in devices if d.busid in those("ATTACHED"))
    attached.unplug()
    wait_until(lambda: attached.busid not in product.bound_busids() and len(those("ATTACHED")) == USBIP_HOST_MAX, 120,
               "one that waited to take the free place", interval=1, lab=product.lab)
    product.lab.unplug_all()
    product.wait_nothing_attached(timeout=180)
    wait_as_before(product, before)
