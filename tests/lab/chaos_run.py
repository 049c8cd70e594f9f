"""One run of chaos: bursts of faults, quiet spells, checks, a report."""
import collections
import os
import pathlib
import statistics
import time

from chaos_faults import Faults, let_pass
from chaos_plan import SERIAL_SOCKETS, Planner
from invariants import Invariants
from line_pump import LinePump
from pi_by_hand import time_logins
from product import Product
from usbpush_lab import Lab, LabError

QUIET = 15  # seconds in which everything must have come right
LOGIN = 2.0  # seconds that a login takes where that was so; a machine that is slower than that has more time, in the same measure
RESET_LIMIT = 150  # seconds that the Pi's kernel may be busy with a device that was exchanged while it reset it: four tries of 16 s, twice
RELEASE = pathlib.Path(__file__).resolve().parents[2] / "build/release"


class ChaosRun:
    def __init__(self, product, seed, log=print):
        self.product, self.lab, self.seed, self._log = product, product.lab, seed, log
        self.planner, self.faults = Planner(seed), Faults(product.lab)
        self.counts = collections.Counter()
        self.n_bursts = self.n_lines = self.n_resets = 0

    def run(self, minutes):
        """Whether no invariant was broken for so long."""
        self._invariants = Invariants(self.product)
        end = time.monotonic() + minutes * 60
        wrong = self._round(self.planner.first(), is_first=True)
        while not wrong and time.monotonic() < end:
            wrong = self._round(self.planner.burst())
        if not wrong:
            wrong = self._end()
        self._report(wrong)
        return not wrong

    def _round(self, steps, is_first=False):
        pumps = [] if is_first else self._start_pumps()
        for step in steps:
            self._log(step)
            self.faults.do(step)
            if not is_first and step.fault != "mend":
                self.counts[step.fault] += 1
        self.n_bursts += not is_first
        wrong = [*self._still_broken(), *self._end_pumps(pumps)]
        self._log("whole again" if not wrong else f"BROKEN: {wrong}")
        return wrong

    def _still_broken(self):
        """What is wrong when it was quiet for long enough."""
        began = time.monotonic()
        let_pass(QUIET)
        wrong = self._look()
        patience = QUIET * self._measure_slowness() if wrong else 0
        limit = began + patience
        while wrong:
            if self._is_resetting():
                limit = min(time.monotonic(), began + RESET_LIMIT) + patience
            if time.monotonic() >= limit:
                break
            wrong = self._look()
        self.n_resets += limit > began + patience
        return wrong

    def _is_resetting(self):
        """usbip-host resets a device when its session ends, one after the other for all. Where that device is exchanged for another meanwhile, QEMU's xHCI answers
        nothing any more and the kernel tries for a minute (dmesg: "device descriptor read/64, error -110"): nobody can hurry it, and `status` says who waits for it."""
        try:
            return bool(self.product.pi.sh("grep -ls stub_device_reset /proc/[0-9]*/stack || true"))
        except LabError:
            return False

    def _measure_slowness(self):
        try:
            return max(1, statistics.median(time_logins(self.product)) / LOGIN)
        except LabError:
            return 1  # no login comes to an end

    def _look(self):
        try:
            return self._invariants.broken(list(self.faults.plugged.values()))
        except LabError as e:
            return [str(e)]  # what is looked at is not there

    def _start_pumps(self):
        """A program on the VM writes into each FT232's tty all the while."""
        return [LinePump(self.product, self.faults.plugged[s], f"{self.n_bursts}-{s}") for s in SERIAL_SOCKETS if s in self.faults.plugged]

    def _end_pumps(self, pumps):
        wrong = []
        for pump in pumps:
            n, problem = pump.end()
            self.n_lines += n
            wrong += [problem] if problem else []
        return wrong

    def _end(self):
        """Everything out: nothing may be left."""
        self.lab.unplug_all()
        self.faults.plugged.clear()
        return self._still_broken()

    def _report(self, wrong):
        faults = ", ".join(f"{n} {name}" for name, n in sorted(self.counts.items()))
        self._log(f"seed {self.seed}: {self.n_bursts} bursts, {sum(self.counts.values())} faults ({faults}); {self.n_lines} lines compared; "
                  + (f"{self.n_resets} times the Pi's kernel took longer to reset a device; " if self.n_resets else "")
                  + ("no invariant broken" if not wrong else "BROKEN:\n  " + "\n  ".join(wrong)))


def run_in_fresh_lab(seed, minutes):
    """For the command line. The lab stays up when something was broken."""
    lab = Lab()
    lab.up(fresh=True)
    for guest, name, pattern in ((lab.pi, "USBPUSH_PI_DEB", "usbpush-pi_*.deb"), (lab.vm, "USBPUSH_VM_DEB", "usbpush-vm_*.deb")):
        guest.install(os.environ.get(name) or next(RELEASE.glob(pattern)))
    product = Product(lab)
    product.pair()
    product.wait_link("UP")
    is_whole = ChaosRun(product, seed, lambda text: print(text, flush=True)).run(minutes)
    if is_whole:
        lab.down()
    return is_whole
