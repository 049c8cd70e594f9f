"""Many devices: plugged in at once, one more, there when the VM boots; and what they cost."""
import footprint
import roads
from plugs import last_tty, settle, wait_tty
from usbpush_lab import wait_until

N_EACH = 15  # sockets of a controller


def socket(i):
    return f"{'ABCD'[i // N_EACH]}{i % N_EACH + 1}"


def time_one_more(product, i, n):
    """Seconds from a plug to its tty with i devices there, n times."""
    times = []
    for _ in range(n):
        settle(product.lab)
        device = product.lab.plug("ft232", socket(i), serial=f"MANY{i}")
        times.append(wait_tty(product.vm, device.t) - device.t)
        product.wait_attached(device)
        device.unplug()
        wait_until(lambda: len(product.used_ports()) == i, 60, "its port to be free", lab=product.lab)
    return times


def measure_count(product, rows, count, options):
    lab = product.lab
    cpu = {guest: footprint.cpu_of_all(guest) for guest in (product.pi, product.vm)}
    devices = [lab.plug("ft232", socket(i), serial=f"MANY{i}") for i in range(count)]
    product.wait_attached(*devices, timeout=60 + 5 * count)
    rows.add("many", f"{count} at once -> all attached", roads.Tunnel.name, "s", [last_tty(product, devices[0].t)])
    settle(lab)
    for guest, spent in cpu.items():
        rows.add("many", f"{count} at once: CPU", f"all of {guest.name}", "s", [footprint.cpu_of_all(guest) - spent])
    if count < 60:
        rows.add("many", f"one more with {count} there -> tty", roads.Tunnel.name, "s", time_one_more(product, count, 2 if options.quick else 4))
    footprint.add_memory(rows, "many", f", {count} devices", [w for w in footprint.watch(product) if w[1] in ("usbpush-exporter", "usbpush-handler")])
    t = product.vm.reboot(wait=False)
    product.vm.wait_ready()
    product.wait_attached(*devices, timeout=60 + 5 * count)
    rows.add("many", f"{count} there, reset of the VM -> all attached", roads.Tunnel.name, "s", [last_tty(product, t)])
    lab.unplug_all()
    product.wait_nothing_attached(timeout=60 + 2 * count)


def measure_many(product, rows, options):
    with roads.Tunnel(product).open():
        for _ in range(1 if options.quick else 2):
            rows.add("many", "one more with 0 there -> tty", roads.Tunnel.name, "s", time_one_more(product, 0, 2 if options.quick else 4))
            for count in (1, 8) if options.quick else (1, 8, 30, 59, 60):
                measure_count(product, rows, count, options)
