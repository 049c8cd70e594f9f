"""What must be so whenever nothing was disturbed for a while, whatever was before. Each check returns what is wrong, in words."""
import re

TROUBLE = re.compile(r"WARNING: CPU|BUG:|Oops|general protection|blocked for more than|Call Trace|use-after-free|rcu.*stall|refcount_t")


# What waits for the machine's own disk is not told: that is as slow as the host's, and journald waits for it every five seconds.
IN_D = r"""
ps -eo pid=,ppid=,stat=,comm= | awk '$3 ~ /^D/ { print $1, $2, $4 }' | while read -r pid parent name; do
    grep -qE 'jbd2|io_schedule' /proc/$pid/stack 2>/dev/null || echo "$pid:$parent:$name"
done
"""


def stuck_processes(guest, seconds):
    """What has waited in the kernel for so long, and not for the disk: D, and still D; PID:PARENT:NAME. The parent of the kernel's own threads is 2."""
    first = set(guest.sh(IN_D).split())
    return sorted(first & set(guest.sh(f"sleep {seconds}; {IN_D}", timeout=90).split())) if first else []


class Invariants:
    def __init__(self, product):
        self.product, self.lab, self.pi, self.vm = product, product.lab, product.pi, product.vm
        self._console_seen = {guest.name: len(guest.console(100_000)) for guest in self.lab.guests()}
        self._known = {guest.name: set(guest.sh("dmesg").splitlines()) for guest in self.lab.guests()}  # what other stories have left there
        self._kernel_trouble = []

    def broken(self, devices):
        """devices: what is plugged in and is to be shared. A list of what is not as it must be."""
        pi_status, vm_status = self.product.status(), self.product.vm_status()
        found = [*self._attached(devices, pi_status), *self._statuses(pi_status, vm_status), *self._leftovers(devices),
                 *self._stuck_processes(), *self._kernels()]
        return found

    def _serials(self):
        """The serial numbers that the VM's kernel reads from what is attached."""
        text = self.vm.sh("for d in /sys/devices/platform/vhci_hcd.*/usb*/*-*/serial; do cat $d; done 2>/dev/null", check=False)
        return sorted(text.split())

    def _attached(self, devices, status):
        """Each once, as itself, with a tty; and nothing else."""
        want = sorted(d.options["serial"] for d in devices)
        if self._serials() != want:
            yield f"on the VM are {self._serials()}, plugged in are {want}"
        if len(self.product.used_ports()) != len(want):
            yield f"{len(self.product.used_ports())} ports are in use for {len(want)} devices: {self.product.used_ports()}"
        links = self.vm.sh("ls /dev/serial/by-id 2>/dev/null", check=False).split()
        for serial in want:
            if sum(f"_{serial}-" in link for link in links) != 1:
                yield f"not one link for {serial} but {[link for link in links if serial in link]} of {links}"
        by_busid = {d["busid"]: d for d in status.get("devices", [])}
        for device in devices:
            entry = by_busid.get(device.busid, {})
            if entry.get("state") != "ATTACHED" or entry.get("serial") != device.options["serial"]:
                yield f"{device.socket} {device.options['serial']}: status has {entry.get('state')} {entry.get('serial')} {entry.get('reason')}"

    def _statuses(self, pi_status, vm_status):
        """Both outputs against sysfs."""
        attached = sorted(d["busid"] for d in pi_status.get("devices", []) if d["state"] == "ATTACHED")
        if attached != sorted(self.product.bound_busids()):
            yield f"status on the Pi has {attached} attached, usbip-host has {self.product.bound_busids()}"
        rows = {d["port"]: d["busid"] for pi in vm_status.get("pis", []) for d in pi["devices"] if d["state"] == "attached"}
        if rows != self.product.used_ports():
            yield f"status on the VM has {rows}, vhci_hcd has {self.product.used_ports()}"
        if pi_status.get("link", {}).get("state") != "UP":
            yield f"the link is {pi_status.get('link')}"

    def _leftovers(self, devices):
        left = self.product.leftovers()
        if sorted(left["match_busid"]) != sorted(left["bound"]):
            yield f"match_busid has {left['match_busid']}, bound are {left['bound']}"
        if left["relays"] > len(devices) + 2:
            yield f"{left['relays']} relays for {len(devices)} devices"
        if left["records"] != len(devices):
            yield f"{left['records']} records of ports for {len(devices)} devices"
        for unit, n in left["fds"].items():
            if n > 24 + 5 * len(devices):
                yield f"{unit} has {n} files open for {len(devices)} devices"

    def _stuck_processes(self):
        """In D, and 10 s later still in D."""
        for guest in (self.pi, self.vm):
            if both := stuck_processes(guest, 10):
                yield f"{guest.name}: in D for 10 s: {both}"

    def _kernels(self):
        """What a kernel has once complained of stays wrong."""
        for guest in self.lab.guests():
            text = guest.console(100_000)
            new, self._console_seen[guest.name] = text[self._console_seen[guest.name]:], len(text)
            for line in [*new.splitlines(), *guest.sh("dmesg").splitlines()]:
                if TROUBLE.search(line) and line not in self._known[guest.name]:
                    self._kernel_trouble.append(f"{guest.name}: kernel: {line}")
                    break
        yield from self._kernel_trouble
