"""tests/demo: the main job between two machines, for a person who watches. See there."""
import os
import shlex
import sys
import time

from product import Product
from usbpush_lab import Lab, LabError

IS_TTY = sys.stdout.isatty()
SERIAL = "DEMO1"


def bold(text):
    return f"\033[1m{text}\033[0m" if IS_TTY else text


def grey(text):
    return f"\033[90m{text}\033[0m" if IS_TTY else text


class Demo:
    def __init__(self):
        self.lab = Lab()
        self.product = Product(self.lab)
        self.device = None

    # ---- showing

    def step(self, words, action):
        """Says what is done, does it, says how long it took."""
        print(f"{words:58}", end="", flush=True)
        start = time.monotonic()
        result = action()
        print(f"{time.monotonic() - start:6.1f} s", flush=True)
        return result

    def show(self, guest, command):
        print(f"\n{grey(guest.name + ' $')} {bold(command)}")
        print(guest.sh(command, check=False))

    # ---- the tour

    def tour(self):
        lab = self.lab
        self.step("Starting two machines (the first time makes their disk)", lambda: lab.up(fresh=True))
        self.step("Installing usbpush-pi on the Pi", lambda: lab.pi.install(os.environ["USBPUSH_PI_DEB"]))
        self.step("Installing usbpush-vm on the VM", lambda: lab.vm.install(os.environ["USBPUSH_VM_DEB"]))
        key = self.step("pi $ usbpush key", lambda: lab.pi.sh("usbpush key"))
        self.step("vm $ usbpush-vm authorize --name pi -",
                  lambda: lab.vm.sh("usbpush-vm authorize --name pi --address pi -", stdin=key + "\n"))
        self.step("pi $ usbpush pair --host vm --host-key ...",
                  lambda: lab.pi.sh(f"usbpush pair --host vm --host-key {shlex.quote(self.product.host_key())}"))
        self.plug()
        self.show(lab.vm, f"ls -l /dev/serial/by-id/*{SERIAL}*")
        self.show(lab.pi, "usbpush status")
        self.show(lab.vm, "usbpush-vm status")
        self.send_both_ways()

    def plug(self):
        """The FT232 into socket A1, and what happens on its way, on the host's clock."""
        self.device = device = self.lab.plug("ft232", "A1", serial=SERIAL)
        print(f"\n{bold('An FT232 is plugged into the Pi.')}")

        def say(words, event):
            print(f"  {event['t'] - device.t:6.2f} s  {words}", flush=True)

        say("the Pi's kernel knows it", device.wait_event("add"))
        say("usbip-host has it", device.wait_event("bind", driver="usbip-host", timeout=60))
        vm = self.lab.vm.events
        say("the VM's kernel has it, and no driver yet: not authorized",
            vm.wait(since=device.t, action="add", devtype="usb_device", timeout=60))
        say("compared with what was offered, and authorized",
            vm.wait(since=device.t, action="add", devtype="usb_interface", timeout=60))
        tty = vm.wait(since=device.t, kind="udev", action="add", subsystem="tty", timeout=60)
        say(f"{tty['devname']} is on the VM", tty)
        self.product.wait_attached(device)

    def send_both_ways(self):
        (node,) = self.product.wait_attached(self.device)
        vm = self.lab.vm
        vm.sh(f"stty -F {node} 115200 raw -echo")
        print(f"\n{bold('A line each way.')}")
        vm.sh(f"printf 'hello, board\\n' > {node}")
        print(f"  VM -> device: {self._read_line()}")
        reader = vm.spawn(f"exec 3<{node}; echo open; head -n 1 <&3")
        self.lab.wait_until(lambda: b"open" in reader.out, 20, "the reader to open the tty")
        self.device.wire.write(b"hello, VM\n")
        reader.wait(timeout=30)
        line = bytes(reader.out).splitlines()[1].decode()
        print(f"  device -> VM: {line}")
        if line != "hello, VM":
            raise LabError(f"the VM read {line!r}")

    def _read_line(self):
        line = self.device.wire.read_until(b"\n", timeout=20).decode().strip()
        if line != "hello, board":
            raise LabError(f"the device read {line!r}")
        return line

    # ---- the prompt

    def prompt(self):
        verbs = {"plug": self.plug, "unplug": self.unplug, "cut": self.cut, "heal": self.heal, "reboot": self.reboot,
                 "status": self.status}
        print(f"\nNow you. {bold(' '.join(verbs))} {bold('quit')}   (reboot pi, reboot vm; lab {self.lab.dir})")
        while True:
            try:
                words = input("demo> ").split()
            except (EOFError, KeyboardInterrupt):
                print()
                return
            if not words:
                continue
            if words[0] in ("quit", "exit", "q"):
                return
            verb = verbs.get(words[0])
            if not verb:
                print(f"No such word: {words[0]}. There are: {' '.join(verbs)} quit")
                continue
            try:
                verb(*words[1:])
            except (LabError, AssertionError, TypeError) as e:
                print(str(e).splitlines()[0])

    def unplug(self):
        if not self.device:
            print("Nothing is plugged in.")
            return
        t = self.device.unplug()
        event = self.lab.vm.events.wait(since=t, action="remove", subsystem="tty", timeout=30)
        print(f"  {event['t'] - t:6.2f} s  gone on the VM")
        self.device = None

    def cut(self):
        self.lab.wire.cut()
        print("The network between the two is cut. After 8 s of it, both sides let go: watch with status.")

    def heal(self):
        self.lab.wire.heal()
        print("The network is whole.")

    def reboot(self, name="vm"):
        guest = self.lab.guest(name)
        self.step(f"{name} is rebooting", lambda: guest.reboot())
        if self.device:
            self.step("until the device is back, by itself", lambda: self.product.wait_attached(self.device, timeout=120))

    def status(self):
        self.show(self.lab.pi, "usbpush status")
        self.show(self.lab.vm, "usbpush-vm status")


def main():
    demo = Demo()
    try:
        demo.tour()
        print(f"\n{bold('It works.')}")
        if "--once" not in sys.argv:
            demo.prompt()
        return 0
    except (LabError, AssertionError) as e:
        print(f"\ntests/demo: {e}", file=sys.stderr)
        return 1
    finally:
        demo.lab.down()


if __name__ == "__main__":
    sys.exit(main())
