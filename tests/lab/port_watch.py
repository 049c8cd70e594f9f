"""What the VM's virtual ports held at each moment of a while, looked at in the VM itself."""
from usbpush_lab import wait_until

# Prints a line whenever the ports that are not free have changed: "PORT:STATE:DEVID PORT:STATE:DEVID".
SCRIPT = r"""
import glob, sys, time
paths = glob.glob("/sys/devices/platform/vhci_hcd.0/status*")
before = None
while True:
    now = []
    for path in paths:
        for row in open(path).read().splitlines()[1:]:
            words = row.split()
            if words[2] != "004":
                now.append(":".join((words[1], words[2], words[4])))
    if now != before:
        print(*now, flush=True)
        before = now
    time.sleep(0.01)
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
