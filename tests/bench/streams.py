"""Bytes through a tty and of a disk, by every road, over wires of several lengths."""
import contextlib
import pathlib
import threading
import time

import roads
from usbpush_lab import wait_until

HERE = pathlib.Path(__file__).resolve().parent
TTY_BENCH = "/var/tmp/tty-bench"
ECHO_SIZES = (1, 64, 512)
WIRES = ((0, 0), (1, 0), (5, 0), (20, 0), (0, 1))  # ms each way, % lost


class Load:
    """How much is sent over that wire: less where each byte takes longer."""

    def __init__(self, options, ms, loss):
        is_long = ms >= 5 or loss > 0
        self.rounds = 1 if is_long or options.quick else 2 if ms else max(options.repeats // 2, 2)
        self.echoes = 2 * options.repeats if is_long else 10 * options.repeats // self.rounds
        self.bytes_of_tty = (8 if is_long else 64 if options.quick else 128) * 1024
        self.bytes_of_disk = (2 if is_long else 4 if options.quick else 16) << 20
        self.transfers = 2


def describe_wire(ms, loss):
    return "" if not ms and not loss else f", {ms} ms each way" if not loss else f", {loss} % lost"


# ---- a tty

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


def echo(road, node, device, size, n):
    """n round trips in ms; the first one, which opens the tty, does not count."""
    device.wire.take()
    with echoing(device.wire):
        text = road.guest.sh(f"{TTY_BENCH} {node} echo {size} {n + 1}", timeout=300)
    return [int(t) / 1000 for t in text.split()[1:]]


def send(road, node, device, size):
    """kB/s towards the device, from its first byte."""
    device.wire.take()
    sender = road.guest.spawn(f"exec {TTY_BENCH} {node} send {size}")
    device.wire.read(1, timeout=60)
    t = time.monotonic()
    device.wire.read(size - 1, timeout=300)
    seconds = time.monotonic() - t
    sender.wait(timeout=60)
    return size / 1000 / seconds


def receive(road, node, device, size):
    receiver = road.guest.spawn(f"exec {TTY_BENCH} {node} receive {size}")
    wait_until(lambda: b"open" in receiver.out, 30, "the tty to be open", lab=road.lab)
    device.wire.write(bytes(size), timeout=300)
    receiver.wait(timeout=300)
    return size * 1000 / int(bytes(receiver.out).split()[1])


def tty_over(road, rows, load, wire):
    with road.attached("ft232") as (device, node):
        for size in ECHO_SIZES:
            rows.add("tty", f"round trip of {size} bytes{wire}", road.name, "ms", echo(road, node, device, size, load.echoes))
        for what, transfer in ((f"to the device{wire}", send), (f"from the device{wire}", receive)):
            rows.add("tty", what, road.name, "kB/s", [transfer(road, node, device, load.bytes_of_tty) for _ in range(load.transfers)])


# ---- a disk

def transfer_disk(guest, command):
    """Seconds, as dd counts them."""
    return float(guest.sh(command + " 2>&1", timeout=900).split(" s, ")[0].split(",")[-1].strip().split()[0])


def write_command(node, size):
    return f"dd if=/dev/zero of={node} bs=256k count={size >> 18} oflag=direct"


def read_command(node, size):
    return f"dd if={node} of=/dev/null bs=256k count={size >> 18} iflag=direct"


def disk_over(road, rows, load, wire):
    size = load.bytes_of_disk
    road.lab.disk_file("A1").write_bytes(bytes(size))
    with road.attached("disk") as (_, node):
        for what, command in ((f"written to the disk{wire}", write_command), (f"read from the disk{wire}", read_command)):
            rows.add("disk", what, road.name, "MB/s",
                     [size / 1e6 / transfer_disk(road.guest, command(node, size)) for _ in range(load.transfers)])


def measure_over_wires(measure):
    def measure_all(product, rows, options):
        for guest in (product.pi, product.vm):
            guest.put_program(HERE / "tty_bench.c", TTY_BENCH)
        for ms, loss in WIRES[:2] if options.quick else WIRES:
            load, wire = Load(options, ms, loss), describe_wire(ms, loss)
            kinds = roads.ALL if not wire else roads.REMOTE
            for i in range(load.rounds):  # in turn, and back again: a machine becomes busier, and a guest's memory scattered, with the time
                for kind in kinds[::-1 if i % 2 else 1]:
                    with kind(product).open() as road, slow_wire(product.lab, ms, loss):
                        measure(road, rows, load, wire)
    return measure_all


@contextlib.contextmanager
def slow_wire(lab, ms, loss):
    if ms or loss:
        lab.wire.delay(ms, loss=loss)
    try:
        yield
    finally:
        lab.wire.heal()


measure_tty = measure_over_wires(tty_over)
measure_disk = measure_over_wires(disk_over)
