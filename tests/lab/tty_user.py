"""A program on the VM that holds a device's tty open, and talks with the world behind the device."""
import itertools

from usbpush_lab import wait_until


class TtyUser:
    def __init__(self, product, device, node):
        self._vm, self._device = product.vm, device
        self._numbers = itertools.count()
        self._vm.sh(f"stty -F {node} 115200 raw -echo clocal")
        # One open of the tty for all: the background one sends, the foreground one receives.
        self._program = self._vm.spawn(f"exec 3<>{node} 4<&0; cat <&4 >&3 & echo open >&2; exec cat <&3")
        wait_until(lambda: self._program.err, 30, f"a program to open {node}", lab=product.lab)
        self._device.wire.open()

    def talk(self):
        """A line each way, through the tty that is open since the start."""
        number = next(self._numbers)
        self._program.write(b"from the vm %d\n" % number)
        assert self._device.wire.read_until(b"\n", timeout=30) == b"from the vm %d\n" % number
        self._device.wire.write(b"from the device %d\n" % number)
        wait_until(lambda: b"from the device %d\n" % number in self._program.out, 30,
                   f"line {number} from the device", lab=self._device.lab)

    def wait_end(self, timeout=60):
        """Until the tty's end has ended the program: it hangs in nothing."""
        self._program.wait(timeout)

    def end(self):
        if self._program.is_running():
            self._program.kill()
            self._program.wait(30)
