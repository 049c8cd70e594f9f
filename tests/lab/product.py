"""usbpush as its owner uses it, in the lab: paired, asked for its status, counted for leftovers."""
import json
import re
import shlex

from usbpush_lab import wait_until

CONTROL = "/run/usbpush/control.sock"
VM_CONF = "/etc/usbpush/vm.conf"


class Product:
    def __init__(self, lab):
        self.lab, self.pi, self.vm = lab, lab.pi, lab.vm

    # ---- setting up, by the commands a person types

    def pair(self):
        """The two unattended commands of the README."""
        key = self.pi.sh("usbpush key")
        self.vm.sh("usbpush-vm authorize --name pi --address pi -", stdin=key + "\n")
        self.pi.sh(f"usbpush pair --host vm --host-key {shlex.quote(self.host_key())}", timeout=60)

    def host_key(self):
        return " ".join(self.vm.sh("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])

    def configure(self, *lines):
        """vm.conf with these lines about the road and no others, read without a restart."""
        content = self.pi.read(VM_CONF).decode()
        kept = [line for line in content.splitlines() if not re.match(r"(TRANSPORT|ALLOW)=", line)]
        self.pi.write(VM_CONF, "\n".join([*kept, *lines, ""]).encode())
        self.pi.sh("systemctl reload usbpush-exporter")

    # ---- looking

    def status(self):
        """`usbpush status --json`; {} while the exporter is not there to answer."""
        result = self.pi.sh("usbpush status --json", check=False)
        return json.loads(result) if result.code == 0 else {}

    def vm_status(self):
        result = self.vm.sh("usbpush-vm status --json", check=False)
        return json.loads(result) if result.code == 0 else {}

    def link(self):
        return self.status().get("link", {})

    def device(self, busid):
        """The device in that socket as the Pi's status has it, or None."""
        return next((d for d in self.status().get("devices", []) if d["busid"] == busid), None)

    def wait_link(self, state="UP", timeout=60):
        return wait_until(lambda: (link := self.link()).get("state") == state and link, timeout,
                          f"the link to be {state}", interval=0.2, lab=self.lab)

    def wait_device(self, device, state="ATTACHED", timeout=60):
        """Until the Pi says so; returns its entry in the status."""
        busid = device if isinstance(device, str) else device.busid
        return wait_until(lambda: (found := self.device(busid)) and found["state"] == state and found, timeout,
                          f"{busid} to be {state}", interval=0.1, lab=self.lab)

    def wait_failed(self, device, code, timeout=60):
        """Until the Pi says that it failed, and that this is why; returns its entry. (The end of its stream may be seen before the VM's word of why.)"""
        return wait_until(lambda: (found := self.device(device.busid)) and found["state"] == "FAILED" and found["error"]["code"] == code and found, timeout,
                          f"{device.busid} to be FAILED with {code}", interval=0.1, lab=self.lab)

    def wait_journal(self, guest, unit, *texts, timeout=60):
        """Until a unit's last lines have all of these; returns them. (journald writes a line when it comes to it.)"""
        return wait_until(lambda: all(t in (lines := guest.sh(f"journalctl -u {unit} -o cat -n 100")) for t in texts) and lines, timeout,
                          f"the journal of {unit} to say {texts}", interval=0.2, lab=self.lab)

    def wait_attached(self, *devices, timeout=90):
        """Until each is ATTACHED with a node; returns the nodes."""
        return [wait_until(lambda d=d: (e := self.device(d.busid)) and e["state"] == "ATTACHED" and e["vm"]["nodes"], timeout,
                           f"{d.busid} ({d.socket}) to be attached with a node", interval=0.1, lab=self.lab)[0] for d in devices]

    def wait_nothing_attached(self, timeout=60):
        wait_until(lambda: not self.used_ports(), timeout, "all of the VM's ports to be free", interval=0.1, lab=self.lab)

    # ---- what the kernels say

    def used_ports(self):
        """{port: bus id} of every vhci port that is not free."""
        text = self.vm.sh("cat /sys/devices/platform/vhci_hcd.*/status*", check=False)
        rows = re.findall(r"^[hs]s +(\d+) (\d+) \d+ \w+ \w+ (\S+)$", text, re.M)
        return {int(port): busid for port, state, busid in rows if int(state) != 4}

    def matched_busids(self):
        """The entries of usbip-host's match_busid table."""
        return self.pi.sh("cat /sys/bus/usb/drivers/usbip-host/match_busid").split()

    def bound_busids(self):
        return self.pi.sh("cd /sys/bus/usb/drivers/usbip-host && ls -d [0-9]* 2>/dev/null || true").split()

    def identity(self, guest, busid):
        names = ("idVendor", "idProduct", "serial", "manufacturer", "product")
        return {n: guest.sh(f"cat /sys/bus/usb/devices/{busid}/{n}", check=False) for n in names}

    # ---- counting, for leaks

    def pid(self, guest, unit):
        return int(guest.sh(f"systemctl show -P MainPID {unit}"))

    def fds(self):
        """Open files of both daemons."""
        return {unit: int(guest.sh(f"ls /proc/{self.pid(guest, unit)}/fd | wc -l"))
                for guest, unit in ((self.pi, "usbpush-exporter"), (self.vm, "usbpush-handler"))}

    def relays(self):
        return int(self.vm.sh("pgrep -c usbpush-relay || true") or 0)

    def leftovers_at_rest(self):
        """The same, with nothing attached: when the stream for the next plug is open again, some seconds after the last one was used."""
        wait_until(lambda: self.relays() == 2, 30, "one relay for the control channel and one for the next plug", interval=0.3, lab=self.lab)
        return self.settled(self.leftovers)

    def settled(self, look):
        """What was the same for two looks in a row: a relay that is being started is there, and the handler has not opened its end yet."""
        seen = [look()]

        def is_same():
            seen.append(look())
            return seen[-1] == seen[-2]

        wait_until(is_same, 30, "two looks in a row to be the same", interval=0.2, lab=self.lab)
        return seen[-1]

    def leftovers(self):
        """All that must be as before once everything is unplugged."""
        return {"ports": self.used_ports(), "match_busid": self.matched_busids(), "bound": self.bound_busids(),
                "relays": self.relays(), "fds": self.fds(),
                "run (pi)": self.pi.sh("cat /run/usbpush/held /run/usbpush/kept; ls /run/usbpush"),
                "run (vm)": self.vm.sh("ls /run/usbpush"),
                "records": self.vm.sh("cat /run/usbpush/ports.json").count('"port"')}
