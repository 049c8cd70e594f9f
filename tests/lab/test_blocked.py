"""A write to sysfs from which the kernel does not return: one device waits for it, and nothing else does."""
import contextlib
import time

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
def a_write_that_does_not_return(product, path, busid):
    """The exporter has a full FIFO in the place of that file of sysfs, in its mount namespace alone. At the end the kernel does what was written, and the write
    returns."""
    pi, pid = product.pi, product.pid(product.pi, "usbpush-exporter")
    pi.sh("rm -f /run/blocked")
    pi.write("/run/blocked.py", FIFO)
    holder = pi.spawn("exec python3 /run/blocked.py")
    wait_until(lambda: b"full" in holder.out, 30, "the FIFO to be full", lab=product.lab)
    pi.sh(f"mount -N {pid} --bind /run/blocked {path}")
    try:
        yield pid
    finally:
        pi.sh(f"umount -N {pid} -l {path}", check=False)
        pi.sh(f"echo {busid} > {path}")
        holder.end_input()
        holder.wait(30)
        pi.sh("rm -f /run/blocked /run/blocked.py")


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
    product.wait_attached(device)
