"""What is measured. Each part gives rows: {"part", "what", "road", "unit", "values"}; all roads in turn, in the same run, so that a machine that becomes busier
is so for all of them."""
import contextlib
import pathlib
import statistics
import threading
import time

import roads
from usbpush_lab import wait_until
from usbpush_lab.floor import measure_floor, without_us

HERE = pathlib.Path(__file__).resolve().parent
TTY_BENCH = "/var/tmp/tty-bench"
ECHO_SIZES = (1, 64, 512)
SCRIPT_CHAIN = "/var/tmp/script-chain"


class Rows(list):
    def add(self, part, what, road, unit, values):
        print(f"  {road:28} {what:34} {statistics.median(values):10.3f} {unit}", flush=True)
        for row in self:
            if (row["part"], row["what"], row["road"]) == (part, what, road):
                row["values"] += values
                return
        self.append({"part": part, "what": what, "road": road, "unit": unit, "values": list(values)})


# ---- plug, unplug

def time_plugs(lab, vm, n, settle):
    """(plug -> tty, unplug -> tty gone) on the VM, n times; the first one, which loads drivers, does not count."""
    there, gone = [], []
    for i in range(n + 1):
        device = lab.plug("ft232", "A1", serial="BENCH")
        tty = vm.events.wait(since=device.t, action="add", subsystem="tty", name="ttyUSB*", timeout=60)
        settle(device)
        t = device.unplug()
        end = vm.events.wait(since=t, action="remove", subsystem="tty", name="ttyUSB*", timeout=60)
        if i:
            there.append(tty["t"] - device.t)
            gone.append(end["t"] - t)
        wait_until(lambda: not vm.sh("ls /dev/ttyUSB* 2>/dev/null || true"), 60, "the tty to be gone", lab=lab)
        lab.pi.sh("udevadm settle")
        vm.sh("udevadm settle")
    return there, gone


def plug_ours(product, n, rows, road):
    with road(product).open() as r:
        def settle(device):
            product.wait_device(device)
        there, gone = time_plugs(product.lab, product.vm, n, settle)
        rows.add("plug", "plug -> tty", r.name, "s", there)
        rows.add("plug", "unplug -> tty gone", r.name, "s", gone)
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
    rows.add("plug", "unplug -> tty gone", r.name, "s", gone)


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
            rows.add("plug", "plug -> tty", "script of udev, ssh and usbip", "s", there)
        finally:
            product.pi.sh("pkill -f 'udevadm monitor' || true")
            chain.kill()
            chain.wait()
            product.vm.sh("rm -f /root/.ssh/authorized_keys")


def measure_plugs(product, n, rows):
    floor = measure_floor(product.lab, n // 2)
    plug_ours(product, n, rows, roads.Tunnel)
    plug_stock(product, n, rows)
    plug_ours(product, n, rows, roads.Direct)
    plug_script_chain(product, max(n // 2, 2), rows)
    floor = measure_floor(product.lab, n // 2, before=floor)
    names = list(floor.samples)
    rows.add("plug", "plug -> tty", "floor of the two kernels", "s",
             [a + b for a, b in zip(floor.samples[names[1]], floor.samples[names[3]])])


# ---- bytes through a tty

@contextlib.contextmanager
def echoing(wire):
    """What the device sends comes back to it."""
    is_over = threading.Event()

    def echo():
        while not is_over.is_set():
            data = wire.take()
            if data:
                wire.write(data)
            else:
                time.sleep(0.0002)
    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def measure_tty(product, n, rows, size):
    for guest in (product.pi, product.vm):
        guest.put_program(HERE / "tty_bench.c", TTY_BENCH)
    for kind in roads.ALL:
        with kind(product).open() as road, road.attached("ft232") as (device, node):
            device.wire.take()
            for bytes_each in ECHO_SIZES:
                with echoing(device.wire):
                    text = road.guest.sh(f"{TTY_BENCH} {node} echo {bytes_each} {n}", timeout=300)
                rows.add("tty", f"round trip of {bytes_each} bytes", road.name, "ms", [int(t) / 1000 for t in text.split()[1:]])
            device.wire.take()
            for _ in range(max(n // 5, 2)):
                sender = road.guest.spawn(f"exec {TTY_BENCH} {node} send {size}")
                device.wire.read(1, timeout=60)
                t = time.monotonic()
                device.wire.read(size - 1, timeout=300)
                rows.add("tty", "to the device", road.name, "kB/s", [size / 1000 / (time.monotonic() - t)])
                sender.wait(timeout=60)
            for _ in range(max(n // 5, 2)):
                receiver = road.guest.spawn(f"exec {TTY_BENCH} {node} receive {size}")
                wait_until(lambda r=receiver: b"open" in r.out, 30, "the tty to be open", lab=product.lab)
                device.wire.write(bytes(size), timeout=300)
                receiver.wait(timeout=300)
                rows.add("tty", "from the device", road.name, "kB/s", [size * 1000 / int(bytes(receiver.out).split()[1])])


# ---- bytes of a disk

def measure_disk(product, n, rows, size):
    megabytes = size >> 20
    for kind in roads.ALL:
        product.lab.disk_file("A1").write_bytes(bytes(size))
        with kind(product).open() as road, road.attached("disk") as (_, node):
            for _ in range(n):
                for what, command in (("written to the disk", f"dd if=/dev/zero of={node} bs=256k count={megabytes * 4} oflag=direct 2>&1"),
                                      ("read from the disk", f"dd if={node} of=/dev/null bs=256k count={megabytes * 4} iflag=direct 2>&1")):
                    seconds = float(road.guest.sh(command, timeout=600).split(" s, ")[0].split(",")[-1].strip().split()[0])
                    rows.add("disk", what, road.name, "MB/s", [size / 1e6 / seconds])


# ---- what it costs to be there

def processes(guest):
    return {name: pid for pid, name in (line.split(None, 1) for line in guest.sh("ps -eo pid=,comm=").splitlines()) if name.startswith("usbpush")}


def proc_sum(guest, pid, file, key):
    return int(guest.sh(f"cat {file.format(pid=pid)} | awk '/^{key}/ {{ n += $2 }} END {{ print n + 0 }}'"))


def wire_bytes(guest):
    return sum(int(x) for x in guest.sh("cat /sys/class/net/e*/statistics/[rt]x_bytes").split())


def measure_idle(product, rows, n_devices, seconds):
    with roads.Tunnel(product).open():
        sockets = [f"{letter}{i}" for letter in "AB" for i in range(1, n_devices // 2 + 1)]
        product.wait_attached(*[product.lab.plug("ft232", socket, serial=socket) for socket in sockets])
        wait_until(lambda: product.relays() == n_devices + 2, 60, "the stream for the next plug to be open", lab=product.lab)
        watched = [(guest, name, pid) for guest in (product.pi, product.vm) for name, pid in processes(guest).items()]
        before = [proc_sum(g, pid, "/proc/{pid}/task/*/status", "voluntary_ctxt_switches") for g, _, pid in watched]
        t, wire = time.monotonic(), wire_bytes(product.vm)
        time.sleep(seconds)  # the span that is measured
        span, wire = time.monotonic() - t, wire_bytes(product.vm) - wire
        for (guest, name, pid), n in zip(watched, before):
            who = f"{name} ({guest.name})"
            wakeups = proc_sum(guest, pid, "/proc/{pid}/task/*/status", "voluntary_ctxt_switches") - n
            rows.add("idle", "wake-ups a second", who, "", [wakeups / span])
            rows.add("idle", "resident", who, "kB", [proc_sum(guest, pid, "/proc/{pid}/smaps_rollup", "Rss")])
            rows.add("idle", "of its own", who, "kB", [proc_sum(guest, pid, "/proc/{pid}/smaps_rollup", "Private")])
        rows.add("idle", "on the wire, all of the VM's", "both ways", "bytes/s", [wire / span])
        product.lab.unplug_all()
        product.wait_nothing_attached()


# ---- many devices

def measure_many(product, rows, counts, repeats):
    lab = product.lab
    with roads.Tunnel(product).open():
        for _ in range(repeats):
            for count in counts:
                start = time.monotonic()
                devices = [lab.plug("ft232", f"{'ABCD'[i // 15]}{i % 15 + 1}", serial=f"MANY{i}") for i in range(count)]
                product.wait_attached(*devices, timeout=60 + 5 * count)
                rows.add("many", f"{count} at once: all attached", "usbpush, tunnel", "s", [time.monotonic() - start])
                lab.unplug_all()
                product.wait_nothing_attached(timeout=60 + 2 * count)
