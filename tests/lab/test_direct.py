"""The direct road: devices by TCP port 3240, for ourselves and for stock usbip, both ways."""
import hashlib
import random
import re
import time

import pytest

from pi_by_hand import PiByHand, connect, hello, sync
from test_cut import ToTheVm, let_pass, measure_limit, watch_ends
from tty_user import TtyUser
from usbpush_lab import wait_until

FOREIGN = "10.99.99.99"  # an address of the VM that the Pi was not told of


def listens(product):
    return product.pi.sh("ss -Htln sport = :3240", check=False)


def sessions(product):
    return product.pi.sh("ss -Htn state established sport = :3240", check=False)


@pytest.fixture
def direct(product):
    product.configure("TRANSPORT=direct")
    wait_until(lambda: listens(product), 20, "the exporter to listen", lab=product.lab)
    yield product
    product.lab.unplug_all()
    product.configure()
    wait_until(lambda: not listens(product), 20, "the exporter not to listen any more", lab=product.lab)


@pytest.fixture
def without_handler(direct):
    """The VM's handler is stopped: what the Pi shares is for who comes."""
    direct.vm.sh("systemctl stop usbpush-handler")
    yield direct
    direct.vm.sh("for p in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\).*/\\1/p'); do usbip detach -p $p; done", check=False)
    direct.vm.sh("systemctl start usbpush-handler")
    direct.wait_link("UP")


def ready(product, socket="A1"):
    """An FT232 that nobody has."""
    device = product.lab.plug("ft232", socket, serial="FT123")
    product.wait_device(device, "READY")
    return device


def test_with_the_tunnel_nothing_listens(product):
    device = product.lab.plug("ft232", "A1", serial="FT123")
    product.wait_attached(device)
    assert f"usbip://pi:ssh/{device.busid}" in product.vm.sh("usbip port 2>&1")
    assert listens(product) == ""
    assert ":3240 " not in product.pi.sh("ss -Htuln")


def test_a_plug_is_a_tty_and_bytes_go_by_tcp(direct):
    before = direct.leftovers_at_rest()
    device = direct.lab.plug("ft232", "A1", serial="FT123")
    (node,) = direct.wait_attached(device)
    assert direct.device(device.busid)["transport"] == "direct"
    assert len(sessions(direct).splitlines()) == 1
    assert f"usbip://pi:3240/{device.busid}" in direct.vm.sh("usbip port 2>&1")

    data = random.Random(1).randbytes(64 * 1024)
    direct.vm.sh(f"stty -F {node} 3000000 raw -echo")
    reader = direct.vm.spawn(f"exec 3<{node}; echo open; head -c {len(data)} <&3 | sha256sum")
    wait_until(lambda: b"open" in reader.out, 20, "the reader to open the tty")
    device.wire.write(data)
    reader.wait(timeout=120)
    assert bytes(reader.out).split()[1].decode() == hashlib.sha256(data).hexdigest(), "from the device to the VM"
    direct.vm.sh(f"cat > {node}", stdin=data, timeout=120)
    assert device.wire.read(len(data), timeout=120) == data, "from the VM to the device"

    device.unplug()
    direct.wait_nothing_attached()
    wait_until(lambda: direct.leftovers() == before, 30, f"everything to be as before: {before}", interval=0.3, lab=direct.lab)


def test_the_road_is_changed_under_a_device_that_is_attached(product):
    device = product.lab.plug("ft232", "A1", serial="FT123")
    product.wait_attached(device)
    product.configure("TRANSPORT=direct")
    try:
        wait_until(lambda: sessions(product), 30, "the device to come by TCP", lab=product.lab)
        product.wait_attached(device)
    finally:
        product.configure()
    wait_until(lambda: not listens(product) and not sessions(product), 30, "the direct road to be closed", lab=product.lab)
    product.wait_attached(device)


@pytest.mark.alone
def test_a_short_cut_is_not_seen(direct):
    device = direct.lab.plug("ft232", "A1", serial="TALKS")
    (node,) = direct.wait_attached(device)
    count = direct.device(device.busid)["attached_count"]
    stream = ToTheVm(direct, device, node, 24_000, seed=4)
    stream.send(4_000)
    direct.lab.wire.cut()
    stream.send(4_000)
    let_pass(4.0)
    direct.lab.wire.heal()
    stream.send(4_000)
    stream.assert_whole()
    assert direct.device(device.busid)["attached_count"] == count


@pytest.mark.alone
def test_after_a_long_cut_both_sides_are_free_and_then_back(direct):
    device = direct.lab.plug("ft232", "A1", serial="ONE")
    direct.wait_attached(device)
    limit = measure_limit(direct, device)
    user = TtyUser(direct, device, direct.wait_attached(device)[0])
    user.talk()
    t = time.monotonic()
    direct.lab.wire.cut()
    user.wait_end(limit)
    ends = watch_ends(direct, device, t, limit + 20)
    print(f"\nfree after {ends['pi']:.2f} s on the Pi, {ends['vm']:.2f} s on the VM")
    assert max(ends.values()) <= limit
    direct.lab.wire.heal()
    user = TtyUser(direct, device, direct.wait_attached(device)[0])
    user.talk()
    user.end()


def test_the_exporter_is_killed_and_all_is_attached_again(direct):
    device = direct.lab.plug("ft232", "A1", serial="FT123")
    direct.wait_attached(device)
    pid = direct.pid(direct.pi, "usbpush-exporter")
    direct.pi.sh(f"kill -9 {pid}")
    wait_until(lambda: direct.pid(direct.pi, "usbpush-exporter") not in (0, pid), 30, "its successor", lab=direct.lab)
    direct.wait_link("UP")
    direct.wait_attached(device)


# ---- stock usbip as the client

def test_stock_usbip_lists_and_attaches_what_nobody_has(without_handler):
    product, vm = without_handler, without_handler.vm
    device = ready(product)
    listed = vm.sh("usbip list -r pi 2>/dev/null")
    assert re.search(rf"{device.busid}: .*\(0403:6001\)", listed), listed
    vm.sh(f"usbip attach -r pi -b {device.busid}")
    # Our handler left the root hubs as they are: who attaches by hand authorizes by hand, once the kernel has read the device.
    authorize = "for f in /sys/devices/platform/vhci_hcd.0/usb*/*-*/authorized; do grep -q 1 $f || echo 1 > $f; done"
    wait_until(lambda: vm.sh(authorize, check=False).code == 0 and vm.exists("/dev/ttyUSB0"), 60, "the tty on the VM", interval=0.3,
               lab=product.lab)
    entry = product.device(device.busid)
    assert entry["state"] == "READY" and vm.address in entry["reason"], entry
    port = vm.sh("usbip port 2>/dev/null")
    assert f"usbip://pi:3240/{device.busid}" in port, port
    again = vm.sh(f"usbip attach -r pi -b {device.busid} 2>&1", check=False)
    assert "busy" in again.lower(), again
    assert device.busid not in vm.sh("usbip list -r pi 2>&1", check=False), "what is in use is not offered"

    vm.sh("usbip detach -p 0")
    wait_until(lambda: not product.used_ports(), 30, "the port to be free", lab=product.lab)
    wait_until(lambda: "in use" not in product.device(device.busid)["reason"], 30, "the Pi to have it back", lab=product.lab)
    vm.sh("systemctl start usbpush-handler")
    product.wait_attached(device)


def test_the_kernels_own_self_test(without_handler):
    """tools/testing/selftests/drivers/usb/usbip/usbip_test.sh, step by step, with our exporter for its usbipd: each command of the stock tools, and each
    again where it must fail."""
    product, pi, vm = without_handler, without_handler.pi, without_handler.vm

    def refused(guest, command, *words):
        result = guest.sh(f"{command} 2>&1", check=False)
        assert (result.code != 0 or "already" in result) and all(w in result.lower() for w in words), f"{command}: {result.code} {result}"

    device = ready(product)
    assert f"busid {device.busid} (0403:6001)" in pi.sh("usbip list -l 2>/dev/null")
    assert "Port" not in vm.sh("usbip port 2>/dev/null")
    refused(vm, "usbip detach -p 0", "already detached")
    refused(vm, "usbip detach -p 999")
    refused(pi, f"usbip bind -b {device.busid}", "already bound")
    refused(pi, "usbip bind -b 9-9", "does not exist")
    refused(vm, "usbip list -r 10.77.0.99", "could not connect")
    assert device.busid in vm.sh("usbip list -r pi 2>/dev/null")
    refused(pi, "usbip list -r localhost")  # not the VM, and nothing in ALLOW=
    refused(vm, "usbip attach -r pi -b 9-9")

    vm.sh(f"usbip attach -r pi -b {device.busid}")
    wait_until(lambda: f"usbip://pi:3240/{device.busid}" in vm.sh("usbip port 2>/dev/null", check=False), 30, "usbip port to show it", lab=product.lab)
    (number,) = re.findall(r"^Port (\d+):", vm.sh("usbip port 2>/dev/null"), re.M)
    refused(vm, f"usbip attach -r pi -b {device.busid}", "busy")
    vm.sh(f"usbip detach -p {number}")
    wait_until(lambda: not product.used_ports(), 30, "the port to be free", lab=product.lab)
    refused(vm, f"usbip detach -p {number}", "already detached")

    wait_until(lambda: "in use" not in product.device(device.busid)["reason"], 30, "the Pi to have it back", lab=product.lab)
    pi.sh(f"usbpush ignore {device.busid}")
    product.wait_device(device, "IGNORED")
    wait_until(lambda: pi.exists(f"/sys/bus/usb/drivers/ftdi_sio/{device.busid}:1.0"), 30, "the Pi's own driver to have it", lab=product.lab)
    refused(pi, f"usbip unbind -b {device.busid}", "not bound")
    assert device.busid not in vm.sh("usbip list -r pi 2>&1", check=False)
    pi.sh("rm -f /etc/usbpush/devices.conf")


def test_stock_usbip_is_told_what_it_can_not_have(without_handler):
    product, vm = without_handler, without_handler.vm
    product.lab.plug("keyboard", "A2").wait_event("bind")
    product.wait_device("1-2", "IGNORED")
    for busid in ("1-2", "1-9", "usb1"):
        result = vm.sh(f"usbip attach -r pi -b {busid} 2>&1", check=False)
        assert result.code != 0, result
    assert product.used_ports() == {}


def test_a_foreign_address_is_refused_until_the_owner_allows_it(without_handler):
    product, vm = without_handler, without_handler.vm
    device = ready(product)
    name = vm.sh("ip -o route get " + product.pi.address).split(" dev ")[1].split()[0]
    vm.sh(f"ip addr add {FOREIGN}/32 dev {name}; ip route add {product.pi.address}/32 dev {name} src {FOREIGN}")
    back = product.pi.sh("ip -o route get " + vm.address).split(" dev ")[1].split()[0]
    product.pi.sh(f"ip route add {FOREIGN}/32 dev {back}")
    try:
        vm.sh(f"ping -c1 -W10 {product.pi.address} || true", check=False)
        result = vm.sh(f"usbip list -r {product.pi.address} 2>&1", check=False)
        assert device.busid not in result, result
        result = vm.sh(f"usbip attach -r {product.pi.address} -b {device.busid} 2>&1", check=False)
        assert result.code != 0 and product.used_ports() == {}, result
        product.wait_journal(product.pi, "usbpush-exporter", FOREIGN)
        product.configure("TRANSPORT=direct", f"ALLOW=192.0.2.0/24, {FOREIGN}")
        wait_until(lambda: device.busid in vm.sh(f"usbip list -r {product.pi.address} 2>/dev/null", check=False), 20,
                   "what the owner allows now", lab=product.lab)
    finally:
        vm.sh(f"ip route del {product.pi.address}/32 dev {name}; ip addr del {FOREIGN}/32 dev {name}", check=False)
        product.pi.sh(f"ip route del {FOREIGN}/32 dev {back}", check=False)


# ---- stock usbipd as the server

def test_our_handler_imports_from_a_stock_usbipd(product):
    device = product.lab.plug("ft232", "A1", serial="FT123")
    product.wait_attached(device)
    product.pi.sh("systemctl stop usbpush-exporter")
    product.wait_nothing_attached()
    by_hand = PiByHand(product)
    daemon = product.pi.spawn("exec usbipd -4")
    try:
        wait_until(lambda: listens(product), 20, "usbipd to listen", lab=product.lab)
        product.pi.sh(f"usbip bind -b {device.busid}")
        devnum = int(product.pi.sh(f"cat {device.sysfs}/devnum"))
        channel = by_hand.open(hello(), sync(), connect("stock-1", busid=device.busid, devnum=devnum, direct_port=3240,
                                                        identity={"vid": 0x0403, "pid": 0x6001, "bcd": 0x0400, "serial": "FT123",
                                                                  "manufacturer": "QEMU", "product": "QEMU USB SERIAL"}))
        answer = channel.wait_answer(type="attached", id="stock-1")
        assert answer["nodes"] == ["/dev/ttyUSB0"]
    finally:
        by_hand.end()
        daemon.kill()
        daemon.wait()
        product.wait_nothing_attached(90)
        product.pi.sh(f"usbip unbind -b {device.busid}", check=False)
        product.pi.sh("systemctl start usbpush-exporter")
    product.wait_link("UP")
