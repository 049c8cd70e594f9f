"""The faults of chaos, done to the lab."""
import time

from chaos_plan import BOARD_SOCKETS, STRANGERS
from usbpush_lab import LabError


def let_pass(seconds):
    """How long a fault lasts is part of the plan."""
    time.sleep(seconds)


class Faults:
    def __init__(self, lab):
        self.lab = lab
        self.plugged = {}  # socket -> Device
        self.is_delayed = False

    def do(self, step):
        let_pass(step.pause)
        getattr(self, step.fault)(*step.arguments)

    # ---- devices

    def plug(self, socket, serial):
        kind = "acm" if socket in BOARD_SOCKETS else "ft232"
        self.plugged[socket] = self.lab.plug(kind, socket, serial=serial)

    def unplug(self, socket):
        self.plugged.pop(socket).unplug()

    def move(self, source, target):
        device = self.plugged.pop(source)
        device.unplug()
        self.plugged[target] = device.plug_again(target)

    def flap(self, socket, times):
        for _ in range(times):
            self.plugged[socket].unplug()
            self.plugged[socket] = self.plugged[socket].plug_again()

    def reenumerate(self, socket, times):
        if not self.lab.pi.is_on():
            return  # a board's own reset takes a board with power
        for _ in range(times):
            self.plugged[socket].reenumerate()

    def stranger(self, socket):
        there = next((d for d in self.lab.devices() if d.socket == socket), None)
        if there:
            there.unplug()
        else:
            self.lab.plug(STRANGERS[socket], socket)

    # ---- the wire

    def cut(self, seconds):
        self.lab.wire.cut()
        let_pass(seconds)
        self._whole()

    def cut_one_way(self, seconds, direction):
        self.lab.wire.cut("vm", only=direction)
        let_pass(seconds)
        self._whole()

    def _whole(self):
        self.lab.wire.heal()
        self.is_delayed = False

    def delay(self, ms, loss):
        self.lab.wire.delay(ms, loss)
        self.is_delayed = True

    # ---- processes

    def _sh(self, guest, command):
        """A guest that is down, or on its way up, has nothing that could be killed."""
        try:
            return self.lab.guest(guest).sh(command, check=False, timeout=60)
        except LabError:
            return ""

    def kill(self, guest, name):
        self._sh(guest, f"kill -9 $(systemctl show -P MainPID {name})")

    def kill_relay(self):
        self._sh("vm", "kill -9 $(pgrep usbpush-relay | shuf -n 1)")

    def kill_sshd(self):
        self._sh("vm", "kill -9 $(pgrep -u usbpush sshd)")

    def restart(self, guest, unit):
        self._sh(guest, f"systemctl restart {unit}")

    # ---- machines

    def reset(self, name):
        guest = self.lab.guest(name)
        if guest.is_on():
            guest.reboot(wait=False)

    def power(self, name, seconds):
        guest = self.lab.guest(name)
        if guest.is_on():
            guest.power_off()
        let_pass(seconds)
        guest.power_on(wait=False)

    def mend(self):
        """The end of a burst: the wire is whole and both machines are up. From here on nobody helps."""
        self._whole()
        for guest in self.lab.guests():
            if not guest.is_on():
                guest.power_on(wait=False)
        for guest in self.lab.guests():
            guest.wait_ready()
            guest.wait_boot_finished()
