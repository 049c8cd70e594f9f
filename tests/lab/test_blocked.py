"""A write to sysfs from which the kernel does not return: one device waits for it, and nothing else does."""
import contextlib
import pathlib
import time

from tty_user import TtyUser
from usbpush_lab import wait_until

UNBIND = "/sys/bus/usb/drivers/usbip-host/unbind"
WATCHDOG = 30  # seconds, WatchdogSec of usbpush-exporter.service

# A FIFO that is open and full: a write to it is taken when somebody reads, and that is when this program's input ends.
FIFO = """
import os, sys
os.mkfifo("/run/blocked")
os.chmod("/run/blocked", 0o666)
end = os.open("/run/blocked", os.O_RDWR | os.O_NONBLOCK)
while True:
    try:
        os.write(end, bytes(4096))
    except BlockingIOError:
        break
print("full", flush=True)
sys.stdin.read()
try:
    while os.read(end, 4096):
        pass
except BlockingIOError:
    pass
"""


@contextlib.contextmanager
def a_full_fifo(guest):
    """Until its end no write to /run/blocked returns."""
    guest.sh("rm -f /run/blocked")
    guest.write("/run/blocked.py", FIFO)
    holder = guest.spawn("exec python3 /run/blocked.py")
    wait_until(lambda: b"full" in holder.out, 30, "the FIFO to be full", lab=guest.lab)
    try:
        yield
    finally:
        holder.end_input()
        holder.wait(30)
        guest.sh("rm -f /run/blocked /run/blocked.py")


@contextlib.contextmanager
def in_the_place_of(guest, pid, path):
    """The FIFO, in that process' mount namespace alone. A write that began there stays there."""
    guest.sh(f"mount -N {pid} --bind /run/blocked {path}")
    try:
        yield
    finally:
        guest.sh(f"umount -N {pid} -l {path}", check=False)


@contextlib.contextmanager
def a_write_that_does_not_return(product, path, busid):
    """The exporter's, to that file of sysfs. At the end the kernel does what was written, and the write returns."""
    pi, pid = product.pi, product.pid(product.pi, "usbpush-exporter")
    with a_full_fifo(pi):
        try:
            with in_the_place_of(pi, pid, path):
                yield pid
        finally:
            pi.sh(f"echo {busid} > {path}")


def blocked(product):
    return product.status().get("blocked")


def test_one_device_waits_for_the_kernel_and_no_other_does(product):
    stuck = product.lab.plug("ft232", "A1", serial="STUCK")
    product.wait_attached(stuck)
    with a_write_that_does_not_return(product, UNBIND, stuck.busid) as pid:
        asked = product.pi.spawn(f"exec usbpush detach {stuck.busid}")
        (entry,) = wait_until(lambda: blocked(product), 60, "word of the write that does not return", interval=0.3, lab=product.lab)
        began = time.monotonic()
        assert stuck.busid in entry["name"] and "usbip-host/unbind" in entry["step"], entry
        assert "usbip-host/unbind" in product.pi.sh("usbpush status")

        other = product.lab.plug("ft232", "B1", serial="OTHER")
        product.wait_attached(other)
        other.unplug()
        product.wait_nothing_attached()
        other = other.plug_again()
        product.wait_attached(other)

        wait_until(lambda: time.monotonic() - began > WATCHDOG + 5, WATCHDOG + 60, "the watchdog to have had its time", interval=1)
        assert product.pid(product.pi, "usbpush-exporter") == pid, "the watchdog was fed"
        assert blocked(product)[0]["since_ms"] > WATCHDOG * 1000
        assert product.device(other.busid)["state"] == "ATTACHED"

    wait_until(lambda: not blocked(product), 60, "the kernel to have returned", interval=0.3, lab=product.lab)
    asked.wait(60)
    wait_until(lambda: product.pi.exists("/dev/ttyUSB0"), 60, "the Pi's own tty", interval=0.3, lab=product.lab)
    product.pi.sh(f"usbpush attach {stuck.busid}")
    product.wait_attached(stuck, other)
    assert product.pid(product.pi, "usbpush-exporter") == pid


def test_a_stop_does_not_wait_for_a_kernel_that_does_not_return(product):
    device = product.lab.plug("ft232", "A1", serial="STUCK")
    product.wait_attached(device)
    with a_write_that_does_not_return(product, UNBIND, device.busid):
        product.pi.spawn(f"exec usbpush detach {device.busid}")
        wait_until(lambda: blocked(product), 60, "word of the write that does not return", interval=0.3, lab=product.lab)
        product.pi.sh("systemctl stop usbpush-exporter", timeout=60)
        assert str(product.pi.sh("systemctl show -P Result usbpush-exporter")) == "success"
    product.pi.sh("systemctl start usbpush-exporter")
    wait_until(lambda: "detached by hand" in (product.device(device.busid) or {}).get("reason", ""), 60, "what was said before the stop",
               interval=0.3, lab=product.lab)
    product.pi.sh(f"usbpush attach {device.busid}")
    product.wait_attached(device)


@contextlib.contextmanager
def the_lock_of(product, device):
    """A program on the Pi has it."""
    pi = product.pi
    pi.put_program(pathlib.Path(__file__).parent / "hold_lock.c", "/run/hold_lock")
    node = pi.sh(f"printf /dev/bus/usb/%03d/%03d $(cat {device.sysfs}/busnum {device.sysfs}/devnum)")
    holder = pi.spawn(f"exec /run/hold_lock {node}")
    wait_until(lambda: "userfault" in pi.sh("cat /proc/$(pgrep -x hold_lock)/wchan", check=False), 30, "the lock to be held", lab=product.lab)
    try:
        yield
    finally:
        holder.kill()
        holder.wait(30)
        pi.sh("rm /run/hold_lock")


def test_a_device_that_usbip_host_calls_unusable_is_bound_anew(product):
    """Each session ends with a reset. Where that fails (here: after a second in which another has the device's lock) only unbind and bind mend it."""
    device = product.lab.plug("ft232", "A1", serial="RUINED")
    product.wait_attached(device)
    status = f"cat {device.sysfs}/usbip_status"
    with the_lock_of(product, device):
        product.vm.sh("systemctl stop usbpush-handler")
        wait_until(lambda: product.pi.sh(status) == "3", 30, "usbip-host to call it unusable", lab=product.lab)
    wait_until(lambda: product.pi.sh(status, check=False) == "1", 30, "it to be bound anew", lab=product.lab)
    product.vm.sh("systemctl start usbpush-handler")
    user = TtyUser(product, device, product.wait_attached(device)[0])
    user.talk()
    user.end()


# ---- on the VM

VHCI = "/sys/devices/platform/vhci_hcd.0"


def wait_blocked_on_vm(product, step):
    """Until the VM's status says that this write does not return, and to whom people and scripts look."""
    wait_until(lambda: any(step in entry["step"] for entry in product.vm_status().get("blocked", [])), 60,
               f"word of the write to {step} that does not return", interval=0.3, lab=product.lab)
    assert step in product.vm.sh("usbpush-vm status")


def wait_unblocked_on_vm(product):
    wait_until(lambda: not product.vm_status()["blocked"], 60, "the kernel to have returned", interval=0.3, lab=product.lab)


def test_on_the_vm_too_one_device_waits_for_attach_or_detach_and_no_other_does(product):
    """The one that waits gets another port, and what the kernel does at last is taken back."""
    vm, pid = product.vm, product.pid(product.vm, "usbpush-handler")
    with a_full_fifo(vm):
        with in_the_place_of(vm, pid, f"{VHCI}/attach"):
            stuck = product.lab.plug("ft232", "A1", serial="STUCK")
            wait_blocked_on_vm(product, "vhci_hcd.0/attach")
        other = product.lab.plug("ft232", "B1", serial="OTHER")
        product.wait_attached(other)
        assert product.vm_status()["blocked"], "and the first still waits"
        product.wait_attached(stuck)
        assert product.device(stuck.busid)["vm"]["port"] != 0, "at a port from which the kernel returns"
    wait_unblocked_on_vm(product)

    with a_full_fifo(vm):
        with in_the_place_of(vm, pid, f"{VHCI}/detach"):
            product.pi.sh(f"usbpush detach {other.busid}")
            wait_blocked_on_vm(product, "vhci_hcd.0/detach")
        product.pi.sh(f"usbpush attach {other.busid}")
        third = product.lab.plug("ft232", "B2", serial="THIRD")
        product.wait_attached(stuck, other, third)
        assert product.vm_status()["blocked"]
    wait_unblocked_on_vm(product)
    wait_until(lambda: len(product.used_ports()) == 3, 30, "three ports in use", lab=product.lab)
    assert product.pid(vm, "usbpush-handler") == pid
