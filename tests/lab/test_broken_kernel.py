"""A kernel that lacks something: each lack has its code, its text and its cure, and mends itself where it can."""
import pytest

from usbpush_lab import wait_until

# Takes every high-speed port of the VM with a socket at whose other end nobody answers, until its input ends.
FILL_PORTS = r"""
import glob, socket, sys
far_ends = []
for path in glob.glob("/sys/devices/platform/vhci_hcd.0/status*"):
    for row in open(path).read().splitlines()[1:]:
        hub, port, state = row.split()[:3]
        if hub != "hs" or state != "004":
            continue
        near, far = socket.socketpair()
        with open("/sys/devices/platform/vhci_hcd.0/attach", "w") as attach:
            attach.write("%d %d %d 2" % (int(port), near.fileno(), 200 << 16 | int(port)))
        far_ends.append(far)
        near.close()
print(len(far_ends), flush=True)
sys.stdin.read()
"""


class Module:
    """A kernel module that can't be loaded for a while."""

    def __init__(self, guest, name, service):
        self._guest, self._name, self._service = guest, name, service
        self._file = f"/etc/modprobe.d/no-{name}.conf"

    def take_away(self):
        self._guest.write(self._file, f"install {self._name} /bin/false\n")
        self._guest.sh(f"systemctl stop {self._service}; modprobe -r {self._name}; ! lsmod | grep -q '^{self._name} '")
        self._guest.sh(f"systemctl start {self._service}")

    def bring_back(self):
        self._guest.sh(f"rm -f {self._file}; modprobe {self._name}")


@pytest.fixture
def usbip_host(product):
    module = Module(product.pi, "usbip_host", "usbpush-exporter")
    yield module
    module.bring_back()
    product.pi.sh("systemctl restart usbpush-exporter")


@pytest.fixture
def vhci_hcd(product):
    module = Module(product.vm, "vhci_hcd", "usbpush-handler")
    yield module
    module.bring_back()


def test_a_pi_without_usbip_host_says_so_and_keeps_its_devices(product, usbip_host):
    usbip_host.take_away()
    device = product.lab.plug("ft232", "A1", serial="HERE")
    entry = product.wait_failed(device, "no-module")

    status = product.status()
    for error in (status["problem"], entry["error"]):
        assert error["code"] == "no-module" and "usbip-host" in error["text"] and "modprobe usbip-host" in error["cure"]
    assert "modprobe usbip-host" in product.pi.sh("usbpush status")
    wait_until(lambda: product.pi.exists("/dev/ttyUSB0"), 60, "the Pi's own driver to have it", lab=product.lab)

    usbip_host.bring_back()
    product.pi.sh("systemctl restart usbpush-exporter")
    product.wait_attached(device)
    assert product.status()["problem"] is None


def test_a_vm_without_vhci_hcd_says_so_on_both_sides_and_gets_the_device_later(product, vhci_hcd):
    vhci_hcd.take_away()
    device = product.lab.plug("ft232", "A1", serial="LATER")
    entry = product.wait_failed(device, "no-module")
    assert "vhci_hcd" in entry["error"]["text"]
    assert "VM" in entry["error"]["cure"] and "modprobe vhci_hcd" in entry["error"]["cure"]
    problem = product.vm_status()["vhci"]["error"]
    assert problem["code"] == "no-module" and "modprobe vhci_hcd" in product.vm.sh("usbpush-vm status")

    vhci_hcd.bring_back()
    product.wait_attached(device)
    assert product.vm_status()["vhci"]["error"] is None


def test_a_handler_that_may_not_write_sysfs_says_so(product):
    directory = "/etc/systemd/system/usbpush-handler.service.d"
    product.vm.sh(f"mkdir -p {directory}")
    product.vm.write(f"{directory}/blind.conf", "[Service]\nReadWritePaths=\nReadOnlyPaths=/sys\n")
    try:
        product.vm.sh("systemctl daemon-reload; systemctl restart usbpush-handler")
        device = product.lab.plug("ft232", "A1", serial="LATER")
        entry = product.wait_failed(device, "no-permission")
        assert "may not be written" in entry["error"]["text"]
        assert "systemctl restart usbpush-handler" in entry["error"]["cure"]
        product.wait_journal(product.vm, "usbpush-handler", "may not be written")
        assert product.used_ports() == {}
    finally:
        product.vm.sh(f"rm -r {directory}; systemctl daemon-reload; systemctl restart usbpush-handler")
    product.wait_attached(device)


def test_without_a_free_port_the_device_waits_for_one(product):
    product.vm.write("/run/fill_ports.py", FILL_PORTS)
    filler = product.vm.spawn("exec python3 /run/fill_ports.py")
    try:
        n = int(wait_until(lambda: filler.out, 60, "all ports to be taken"))
        device = product.lab.plug("ft232", "A1", serial="WAITS")
        entry = product.wait_failed(device, "no-free-port")
        assert f"{n} of {n} in use" in entry["error"]["text"]
        assert "usbpush-vm detach" in entry["error"]["cure"]
    finally:
        filler.kill()
        filler.wait(30)
    product.wait_attached(device)
    wait_until(lambda: len(product.used_ports()) == 1, 60, "the others' ports to be free", lab=product.lab)
