"""More than serial: a disk, when both owners say so. What is written on the VM is on the disk, and a disk that is pulled hangs nobody."""
import hashlib

import pytest

from usbpush_lab import wait_until

ACCEPT = "/etc/usbpush/accept.conf"
IMAGE = "/var/tmp/image"
SIZE = 64 << 20


@pytest.fixture
def disk(product):
    """A disk in the Pi that the VM has as a block device: the device, the block device's path, and the file behind it on this machine."""
    lab = product.lab
    lab.disk_file("A1").write_bytes(bytes(SIZE + (1 << 20)))
    product.vm.write(ACCEPT, "accept class=storage\n")
    product.pi.write("/etc/usbpush/devices.conf", "share class=storage name=stick\n")
    device = lab.plug("disk", "A1", serial="STICK")
    product.wait_device(device, "ATTACHED", timeout=90)
    wait_until(lambda: product.vm.exists("/dev/usbpush/stick"), 60, "the disk on the VM", interval=0.3, lab=lab)
    yield device, "/dev/usbpush/stick", lab.disk_file("A1")
    lab.unplug_all()
    product.vm.sh(f"rm -f {ACCEPT}")
    product.pi.sh("rm -f /etc/usbpush/devices.conf")


def test_an_image_that_the_vm_writes_is_on_the_disk(product, disk):
    device, node, file = disk
    entry = product.device(device.busid)
    assert product.vm.sh(f"cat /sys/bus/usb/devices/{entry['vm']['busid']}/speed").strip() == "5000", "a SuperSpeed device on a SuperSpeed port"
    product.vm.sh(f"head -c {SIZE} /dev/urandom > {IMAGE}", timeout=120)
    try:
        written = product.vm.sh(f"sha256sum < {IMAGE} && dd if={IMAGE} of={node} bs=256k oflag=direct status=none", timeout=300).split()[0]
        assert product.vm.sh(f"dd if={node} bs=256k count={SIZE >> 18} iflag=direct status=none | sha256sum", timeout=300).split()[0] == written
    finally:
        product.vm.sh(f"rm -f {IMAGE}")
    device.unplug()
    product.wait_nothing_attached()
    with open(file, "rb") as f:
        assert hashlib.sha256(f.read(SIZE)).hexdigest() == written


def test_a_disk_pulled_while_it_is_written_is_an_error_and_no_hang(product, disk):
    device, node, _ = disk
    writer = product.vm.spawn(f"exec dd if=/dev/zero of={node} bs=64k oflag=direct")
    wait_until(lambda: int(product.vm.sh(f"cat /sys/block/$(basename $(readlink -f {node}))/stat").split()[4]) > 4, 60, "some of it to be written", interval=0.1)
    device.unplug()
    assert writer.wait(60) != 0 and b"error" in writer.err.lower(), bytes(writer.err)
    product.wait_nothing_attached()
    wait_until(lambda: not product.vm.exists(node), 30, "the name to be gone", lab=product.lab)
    again = product.lab.plug("ft232", "B1", serial="NEXT")
    product.wait_attached(again)
