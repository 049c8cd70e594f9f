"""What it costs to be there, and to move bytes."""
import os
import pathlib
import time

import roads
import streams
from usbpush_lab import wait_until

TICKS = os.sysconf("SC_CLK_TCK")  # here and in the guests
N_IDLE = 8


def processes(guest):
    """[(name, pid)] of ours, with one of many relays."""
    found = {}
    for line in guest.sh("ps -eo pid=,args=").splitlines():
        pid, argv0 = line.split()[:2]
        name = argv0.rsplit("/", 1)[-1]
        if name.startswith("usbpush-"):
            found[name] = pid
    return list(found.items())


def sum_of(guest, path, key):
    return int(guest.sh(f"cat {path} | awk '/^{key}/ {{ n += $2 }} END {{ print n + 0 }}'"))


def cpu_of(guest, pid):
    """Seconds that the process has computed so far, itself and in the kernel."""
    fields = guest.sh(f"cat /proc/{pid}/stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_all(guest):
    """Seconds that this machine has computed for that guest so far, as the host sees it: the guest's own /proc/stat only counts at its ticks."""
    fields = pathlib.Path(f"/proc/{guest.qemu_pid()}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wire_bytes(guest):
    return sum(int(x) for x in guest.sh("cat /sys/class/net/e*/statistics/[rt]x_bytes").split())


def add_memory(rows, part, where, watched):
    for guest, name, pid in watched:
        who = f"{name} ({guest.name})"
        for what, key in (("resident", "Rss:"), ("proportional", "Pss:"), ("private", "Private"), ("written to", "Private_Dirty:")):
            rows.add(part, f"{what}{where}", who, "kB", [sum_of(guest, f"/proc/{pid}/smaps_rollup", key)])


def watch(product):
    return [(guest, name, pid) for guest in (product.pi, product.vm) for name, pid in processes(guest)]


def measure_idle(product, rows, options):
    lab = product.lab
    with roads.Tunnel(product).open():
        product.wait_attached(*[lab.plug("ft232", f"{letter}{i}", serial=f"{letter}{i}") for letter in "AB" for i in range(1, N_IDLE // 2 + 1)])
        wait_until(lambda: product.relays() == N_IDLE + 2, 60, "the stream for the next plug to be open", lab=lab)
        watched = watch(product)
        before = [sum_of(g, f"/proc/{pid}/task/*/status", "voluntary_ctxt_switches") for g, _, pid in watched]
        t, wire = time.monotonic(), wire_bytes(product.vm)
        time.sleep(30 if options.quick else 120)  # the span that is measured
        span, wire = time.monotonic() - t, wire_bytes(product.vm) - wire
        for (guest, name, pid), n in zip(watched, before):
            wakeups = sum_of(guest, f"/proc/{pid}/task/*/status", "voluntary_ctxt_switches") - n
            rows.add("idle", f"wake-ups a second, {N_IDLE} devices", f"{name} ({guest.name})", "", [wakeups / span])
        add_memory(rows, "idle", f", {N_IDLE} devices", watched)
        rows.add("idle", f"on the wire, all of the VM's, {N_IDLE} devices", "both ways", "bytes/s", [wire / span])
        lab.unplug_all()
        product.wait_nothing_attached()


def measure_sizes(product, rows, _options):
    for guest, package in ((product.pi, "usbpush-pi"), (product.vm, "usbpush-vm")):
        deb = os.environ["USBPUSH_PI_DEB" if guest is product.pi else "USBPUSH_VM_DEB"]
        rows.add("size", "size of the package", package, "kB", [os.path.getsize(deb) / 1000])
        rows.add("size", "size of the package, installed", package, "kB",
                 [float(guest.sh(["dpkg-query", "-W", "-f", "${Installed-Size}", package])) * 1.024])
        for line in guest.sh(f"dpkg -L {package} | grep -E '/(s?bin|libexec)/' | xargs -r stat -L -c '%F|%s|%n' | grep '^regular'").splitlines():
            _, size, path = line.split("|")
            rows.add("size", "size of the program", path.rsplit("/", 1)[-1], "kB", [int(size) / 1000])


def logins(guest):
    """[(name, pid)] of what sshd runs for us: nothing of ours, and nothing that the tunnel could do without."""
    return [("sshd of the login", pid) for pid in guest.sh("pgrep -u usbpush -f '^sshd: usbpush' || true").split()]


def measure_cpu(product, rows, options):
    """Moves bytes to a disk and back; less in a quick run."""
    size = (16 if options.quick else 100) << 20
    what = f"CPU for {size >> 20} MB {{}} the disk"
    for kind in roads.REMOTE:
        product.lab.disk_file("A1").write_bytes(bytes(size))
        with kind(product).open() as road, road.attached("disk") as (_, node):
            for direction, command in (("to", streams.write_command), ("from", streams.read_command)):
                watched = [(g, n, pid) for g, n, pid in watch(product) if n != "usbpush-relay"] + [(product.vm, n, pid) for n, pid in logins(product.vm)]
                before = [cpu_of(g, pid) for g, _, pid in watched], [cpu_of_all(g) for g in (product.pi, product.vm)]
                streams.transfer_disk(road.guest, command(node, size))
                for guest, spent in zip((product.pi, product.vm), before[1]):
                    rows.add("cpu", what.format(direction), f"{road.name}: all of {guest.name}", "s", [cpu_of_all(guest) - spent])
                for (guest, name, pid), spent in zip(watched, before[0]):
                    if cpu_of(guest, pid) - spent >= 0.1:
                        rows.add("cpu", what.format(direction), f"{road.name}: {name}", "s", [cpu_of(guest, pid) - spent])
