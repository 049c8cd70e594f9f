"""How fast the way from a plug to a tty on the VM could be at best: what the two
kernels and udev need when nobody of ours is there.

    plug -> usb_device bound on the Pi   +   attach written on the VM -> tty there
"""
import contextlib
import dataclasses
import statistics

from .lab import HERE

IMPORTER = "/var/tmp/lab-importer"
VHCI = "/sys/devices/platform/vhci_hcd.0"


@dataclasses.dataclass
class Floor:
    """Medians in seconds, and every value behind them."""
    plug_to_add: float  # the kernel's `add` of the usb_device on the Pi
    plug_to_bind: float  # its `bind`: from here on usbip-host may have it
    plug_to_tty: float  # ttyUSB on the Pi itself
    attach_to_tty: float  # `attach` written on the VM -> ttyUSB there
    samples: dict

    @property
    def floor(self):
        return self.plug_to_bind + self.attach_to_tty

    def __str__(self):
        rows = [f"{text:44} {statistics.median(values):6.3f} s   ({min(values):.3f} .. {max(values):.3f})"
                for text, values in self.samples.items()]
        rows.append(f"{'floor: plug -> bind, attach -> tty':44} {self.floor:6.3f} s")
        return "\n".join(rows)


@contextlib.contextmanager
def without_us(lab):
    """usbpush's services stopped, devices on vhci authorized by default; undone at the end."""
    stopped = {}
    for guest in (lab.pi, lab.vm):
        stopped[guest] = guest.sh("systemctl list-units --plain --no-legend --state=active 'usbpush*' | cut -d' ' -f1").split()
        if stopped[guest]:
            guest.sh(["systemctl", "stop", *stopped[guest]], timeout=90)
    lab.vm.sh("modprobe vhci_hcd")
    lab.pi.sh("modprobe usbip_host")
    before = {line.split()[0]: line.split()[1] for line in lab.vm.sh(
        f"for f in {VHCI}/usb*/authorized_default; do echo $f $(cat $f); done").splitlines()}
    lab.vm.sh(f"for f in {VHCI}/usb*/authorized_default; do echo 1 > $f; done")
    try:
        yield
    finally:
        for path, value in before.items():
            lab.vm.sh(f"echo {value} > {path}")
        for guest, units in stopped.items():
            if units:
                guest.sh(["systemctl", "start", *units], timeout=90)


def measure_plug(lab, n, socket="A1"):
    """Seconds from the plug to add, bind and tty on the Pi, without us: lists of n."""
    lists = {"plug -> add usb_device (Pi)": [], "plug -> bind usb_device (Pi)": [], "plug -> tty (Pi)": []}
    adds, binds, ttys = lists.values()
    for i in range(n + 1):
        device = lab.plug("ft232", socket)
        add, bind = device.wait_event("add"), device.wait_event("bind")
        tty = lab.pi.events.wait(since=device.t, action="add", subsystem="tty", devpath=f"*/{device.busid}/*")
        lab.pi.sh("udevadm settle")
        t = device.unplug()
        lab.pi.events.wait(since=t, kind="udev", action="remove", devtype="usb_device", devpath=f"*/{device.busid}")
        if i:  # the first one loads the driver
            adds.append(add["t"] - device.t)
            binds.append(bind["t"] - device.t)
            ttys.append(tty["t"] - device.t)
    return lists


def measure_attach(lab, n, socket="A1", kind="ft232"):
    """Seconds from `attach` written on the VM to the tty there, with stock usbipd: a list of n."""
    lab.vm.put_program(HERE / "importer.c", IMPORTER)
    daemon = lab.pi.spawn("exec usbipd -4")
    lab.wait_until(lambda: lab.pi.sh("ss -Htln sport = :3240"), 20, "usbipd to listen")
    device = lab.plug(kind, socket)
    device.wait_event("bind")
    times = []
    try:
        lab.pi.sh("udevadm settle")
        lab.pi.sh(f"usbip bind -b {device.busid}")
        for i in range(n + 1):
            seconds = attach_once(lab, device)
            if i:
                times.append(seconds)
    finally:
        lab.pi.sh(f"usbip unbind -b {device.busid}", check=False)
        daemon.kill()
        daemon.wait()
        device.unplug()
    return times


def attach_once(lab, device):
    lab.wait_until(lambda: lab.pi.sh(f"cat {device.sysfs}/usbip_status") == "1", 20, "the device to be exportable")
    since = lab.status()["now"]
    port, attached = lab.vm.sh([IMPORTER, lab.pi.address, device.busid]).split()
    tty = lab.vm.events.wait(since=since, subsystem="tty", action="add", name="tty[UA]*")
    lab.vm.sh("udevadm settle")
    t = lab.status()["now"]
    lab.vm.sh(f"echo {port} > {VHCI}/detach")
    lab.vm.events.wait(since=t, subsystem="usb", devtype="usb_device", action="remove", kind="udev")
    return tty["guest_t"] - float(attached)


def measure_floor(lab, n=10, socket="A1", before=None):
    """All of it, in this lab now, and together with what was measured before. Nothing may be plugged into that socket."""
    with without_us(lab):
        samples = measure_plug(lab, n, socket)
        samples["attach -> tty (VM, bare importer)"] = measure_attach(lab, n, socket)
    if before:
        samples = {text: before.samples[text] + values for text, values in samples.items()}
    return Floor(*[statistics.median(v) for v in samples.values()], samples)
