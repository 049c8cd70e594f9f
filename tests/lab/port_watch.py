"""What the VM's virtual ports held at each moment of a while, looked at in the VM itself."""
from usbpush_lab import wait_until

# Prints a line whenever the ports that are not free have changed: "PORT:STATE:DEVID PORT:STATE:DEVID". At the lowest priority: the guest
# has one processor, and what is watched needs it.
SCRIPT = r"""
import glob, os, time
os.nice(19)
files = [open(path) for path in sorted(glob.glob("/sys/devices/platform/vhci_hcd.0/status*"))]


def look():
    rows = []
    for file in files:
        file.seek(0)
        rows += [row for row in file.read().splitlines()[1:] if row[9:12] != "004"]
    return rows


before = None
while True:
    now = look()
    if now != before:
        # The files are read one after the other: what moved from one to the next meanwhile would be seen twice. So only what is so for two looks counts.
        while (again := look()) != now:
            now = again
        print(*[":".join(row.split()[i] for i in (1, 2, 4)) for row in now], flush=True)
        before = now
    time.sleep(0.02)
"""


class PortWatch:
    """with PortWatch(vm) as watch: ...; then watch.moments says which ports were taken, change by change."""

    def __init__(self, vm):
        self._vm = vm
        self.moments = []

    def __enter__(self):
        self._vm.write("/run/port_watch.py", SCRIPT)
        self._program = self._vm.spawn("exec python3 /run/port_watch.py")
        wait_until(lambda: self._program.out or not self._program.is_running(), 30, "the watch of the ports to begin")
        return self

    def __exit__(self, *_):
        assert self._program.is_running(), f"the watch of the ports ended: {self._program.err.decode()}"
        self._program.kill()
        self._program.wait(30)
        self.moments = [line.split() for line in self._program.out.decode().splitlines()]

    def most_at_once(self):
        return max(len(ports) for ports in self.moments)
