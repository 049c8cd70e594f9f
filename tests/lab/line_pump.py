"""Numbered lines through an open tty on the VM, for as long as it stays open; what arrives behind the device is compared."""
import re

# Writes into a tty until it is told off or the tty ends. (One way: see test_cut.Stream.)
PUMP = r"""
import os, sys, time
os.nice(19)
session, path = sys.argv[1:]
fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
print("open", flush=True)
try:
    for n in range(1_000_000):
        os.write(fd, b"<%s:%d>\n" % (session.encode(), n))
        time.sleep(0.05)
except OSError:
    pass
"""


class LinePump:
    def __init__(self, product, device, session):
        self._product, self._device, self._session = product, device, session
        device.wire.open()
        product.vm.write("/run/line_pump.py", PUMP)
        path = product.vm.sh(f"ls /dev/serial/by-id/*_{device.options['serial']}-*")
        product.vm.sh(f"stty -F {path} 115200 raw -echo clocal")
        self._program = product.vm.spawn(f"exec python3 /run/line_pump.py {session} {path}")
        product.lab.wait_until(lambda: self._program.out or not self._program.is_running(), 60, "the pump to open its tty")
        assert self._program.out, self._program.err.decode()

    def end(self):
        """How many lines came, and what is wrong with them (or None)."""
        if self._program.is_running():
            self._program.kill()
            self._program.wait(60)
        text = self._device.wire.take().decode("ascii", errors="replace")
        numbers = [int(n) for n in re.findall(rf"<{self._session}:(\d+)>", text)]
        if numbers != list(range(len(numbers))):
            at = next(i for i, n in enumerate(numbers) if i != n)
            return len(numbers), f"{self._session}: after line {at - 1} came line {numbers[at]}"
        return len(numbers), None
