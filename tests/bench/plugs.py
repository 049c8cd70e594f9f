"""From a plug, a reset, a boot or a whole wire to the tty on the VM, and from the pull to its end."""
import contextlib
import pathlib
import shlex
import time

import roads
from usbpush_lab import wait_until
from usbpush_lab.floor import measure_attach, measure_floor, without_us

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT_CHAIN = "/var/tmp/script-chain"
CUT_S = 15  # longer than the patience: both sides have let go
PLUG, UNPLUG, AGAIN = "plug -> tty", "unplug -> tty gone", "re-enumeration -> tty back"
FLOOR = "floor of the two kernels"
SSH = ["ssh", "-i", "/var/lib/usbpush/id_ed25519", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no",
       "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-T", "usbpush@vm"]


def wait_tty(vm, since, timeout=60):
    return vm.events.wait(since=since, action="add", subsystem="tty", name="tty[UA]*", timeout=timeout)["t"]


def settle(lab):
    for guest in (lab.pi, lab.vm):
        guest.sh("udevadm settle")


def time_plugs(lab, vm, n, wait_attached, wait_ready=lambda: None):
    """(plug -> tty, unplug -> tty gone) on the VM, n times; the first one, which loads drivers, does not count."""
    there, gone = [], []
    for i in range(n + 1):
        wait_ready()
        device = lab.plug("ft232", "A1", serial="BENCH")
        tty = wait_tty(vm, device.t)
        wait_attached(device)
        t = device.unplug()
        end = vm.events.wait(since=t, action="remove", subsystem="tty", name="ttyUSB*", timeout=60)
        if i:
            there.append(tty - device.t)
            gone.append(end["t"] - t)
        wait_until(lambda: not vm.sh("ls /dev/ttyUSB* 2>/dev/null || true"), 60, "the tty to be gone", lab=lab)
        settle(lab)
    return there, gone


def plug_ours(product, n, rows, road):
    def wait_ready():  # nobody plugs in the next one within a second
        if road is roads.Tunnel:
            wait_until(lambda: product.relays() == 2, 30, "the stream for the next plug to be open", lab=product.lab)

    with road(product).open() as r:
        entries = []
        there, gone = time_plugs(product.lab, product.vm, n, lambda device: entries.append(product.wait_device(device)), wait_ready)
        rows.add("plug", PLUG, r.name, "s", there)
        rows.add("plug", UNPLUG, r.name, "s", gone)
        for side, steps in (("Pi", [e["steps_ms"] for e in entries[1:]]), ("VM", [e["vm"]["steps_ms"] for e in entries[1:]])):
            for step in steps[0]:
                rows.add("steps", f"step on the {side}: {step}", r.name, "ms", [s[step] for s in steps])
        product.wait_nothing_attached()


def plug_stock(product, n, rows):
    """Stock usbip: what comes after the plug is typed by nobody, so only the unplug can be compared."""
    gone = []
    with roads.Stock(product).open() as r:
        for i in range(n + 1):
            device = product.lab.plug("ft232", "A1", serial="BENCH")
            r.attach(device)
            r.wait_node("ft232")
            t = device.unplug()
            end = product.vm.events.wait(since=t, action="remove", subsystem="tty", name="ttyUSB*", timeout=60)
            if i:
                gone.append(end["t"] - t)
            wait_until(lambda: not product.used_ports(), 60, "the port to be free", lab=product.lab)
    rows.add("plug", UNPLUG, r.name, "s", gone)


def plug_script_chain(product, n, rows):
    """A script of udev, ssh and usbip: what a handy person writes in an afternoon (script_chain.sh)."""
    with without_us(product.lab), contextlib.ExitStack() as stack:
        r = roads.Stock(product)
        stack.enter_context(r.running("pi", "exec usbipd -4", 3240))
        product.pi.sh("mkdir -p -m 700 /root/.ssh; [ -e /root/.ssh/bench ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/bench")
        key = product.pi.sh("cat /root/.ssh/bench.pub")
        product.vm.sh("mkdir -p -m 700 /root/.ssh; cat > /root/.ssh/authorized_keys", stdin=(key + "\n").encode())
        product.pi.put(HERE / "script_chain.sh", SCRIPT_CHAIN, 0o755)
        chain = product.pi.spawn(f"exec {SCRIPT_CHAIN}")
        try:
            wait_until(lambda: b"ready" in chain.out, 30, "the chain to listen", lab=product.lab)
            there, _ = time_plugs(product.lab, product.vm, n, lambda device: product.pi.sh("udevadm settle"))
            rows.add("plug", PLUG, "script of udev, ssh and usbip", "s", there)
        finally:
            product.pi.sh("pkill -x udevadm || true")
            chain.kill()
            chain.wait()
            product.vm.sh("rm -f /root/.ssh/authorized_keys")


def add_floor(rows, floor):
    bind, tty = floor.samples["plug -> bind usb_device (Pi)"], floor.samples["attach -> tty (VM, bare importer)"]
    rows.add("plug", PLUG, FLOOR, "s", [a + b for a, b in zip(bind, tty)])


def measure_plugs(product, rows, options):
    half = max(options.repeats // 2, 2)
    product.lab.pi.sh("true")
    for _ in range(2):  # in turn, so that a machine that becomes busier is so for all of them
        add_floor(rows, measure_floor(product.lab, half))
        product.wait_link("UP")
        plug_ours(product, half, rows, roads.Tunnel)
        plug_stock(product, half, rows)
        plug_ours(product, half, rows, roads.Direct)
    plug_script_chain(product, half, rows)


# ---- a reset of the device: a board with a USB of its own, as it does when it is flashed

def reenumerate_locally(lab, n):
    """Seconds to `bind` on the Pi, without us."""
    times = []
    device = lab.plug("acm", "G1", serial="BENCH")
    device.wait_event("bind")
    for _ in range(n):
        settle(lab)
        t = device.reenumerate()
        times.append(device.wait_event("bind", since=t)["t"] - t)
    settle(lab)
    device.unplug()
    return times


def reenumerate_ours(product, n, rows, road):
    with road(product).open() as r:
        device = product.lab.plug("acm", "G1", serial="BENCH")
        product.wait_device(device)
        times = []
        for _ in range(n):
            settle(product.lab)
            t = device.reenumerate()
            times.append(wait_tty(product.vm, t) - t)
            product.wait_device(device)
        rows.add("plug", AGAIN, r.name, "s", times)
        device.unplug()
        product.wait_nothing_attached()


def measure_reenumerations(product, rows, options):
    half = max(options.repeats // 2, 2)
    for _ in range(2):
        with without_us(product.lab):
            again = reenumerate_locally(product.lab, half)
            settle(product.lab)
            attach = measure_attach(product.lab, half, socket="G1", kind="acm")
        rows.add("plug", AGAIN, FLOOR, "s", [a + b for a, b in zip(again, attach)])
        product.wait_link("UP")
        for road in (roads.Tunnel, roads.Direct):
            reenumerate_ours(product, half, rows, road)


# ---- boots, and the wire

def ttys_since(product, since):
    return [e["t"] for e in product.vm.events.find(since, kind="udev", action="add", subsystem="tty", name="ttyUSB*")]


def last_tty(product, since):
    return max(ttys_since(product, since)) - since


def time_boots(product, guest, devices, n):
    """Seconds from a reset of that guest to the last tty on the VM, and to its own sshd, D-Bus and udev."""
    back, ready = [], []
    for _ in range(n):
        product.wait_attached(*devices)
        settle(product.lab)
        t = guest.reboot(wait=False)
        ready.append(guest.wait_ready())
        wait_until(lambda: len(ttys_since(product, t)) >= len(devices), 120, "the devices' ttys", lab=product.lab)
        product.wait_attached(*devices)
        back.append(last_tty(product, t))
    return back, ready


def time_heals(product, devices, n):
    times = []
    for _ in range(n):
        product.lab.wire.cut()
        time.sleep(CUT_S)  # that long the wire is cut
        t = product.lab.wire.heal()
        wait_until(lambda: len(ttys_since(product, t)) >= len(devices), 120, "the devices' ttys", lab=product.lab)
        product.wait_attached(*devices)
        times.append(last_tty(product, t))
    return times


def time_logins(pi, n):
    times = []
    for _ in range(n):
        t = time.monotonic()
        pi.sh(shlex.join(SSH), check=False)
        times.append(time.monotonic() - t)
    return times


def measure_returns(product, rows, options):
    """Four devices there, and one side comes back."""
    n = max(options.repeats // 3, 2)
    with roads.Tunnel(product).open() as r:
        devices = [product.lab.plug("ft232", socket, serial=socket) for socket in ("A1", "A2", "B1", "B2")]
        product.wait_attached(*devices)
        for guest, name in ((product.vm, "VM"), (product.pi, "Pi")):
            back, ready = time_boots(product, guest, devices, n)
            rows.add("return", f"reset of the {name} -> 4 attached", r.name, "s", back)
            rows.add("return", f"reset of the {name} -> 4 attached", "its sshd, D-Bus and udev", "s", ready)
        what = "wire whole again -> 4 attached"
        rows.add("return", what, r.name, "s", time_heals(product, devices, n))
        rows.add("return", what, "ssh's login alone", "s", time_logins(product.pi, n))
        product.lab.unplug_all()
        product.wait_nothing_attached()
