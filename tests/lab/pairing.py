"""`usbpush-vm pair` on the VM, waiting for its digits to be typed on the Pi."""
import re

from usbpush_lab import wait_until


class Pair:
    """The two commands, each in its terminal."""

    def __init__(self, product, command="usbpush-vm pair"):
        self.product, self.pi, self.vm = product, product.pi, product.vm
        self.asked = self.vm.spawn(f"exec {command}")
        wait_until(lambda: self.digits() or not self.asked.is_running(), 60, "six digits on the VM", lab=product.lab)
        assert self.digits(), self.words(self.asked)

    def digits(self):
        found = re.search(r"\b(\d{3})[ -]?(\d{3})\b", self.asked.out.decode())
        return found and found[1] + found[2]

    def type_on_the_pi(self, digits, command="usbpush pair"):
        """How `usbpush pair` ended, and what both said."""
        result = self.pi.sh(command, check=False, stdin=digits + "\n", timeout=150)
        code = self.asked.wait(150)
        return result.code, code, f"{result}\n{result.err}", self.words(self.asked)

    @staticmethod
    def words(program):
        return program.out.decode() + program.err.decode()
