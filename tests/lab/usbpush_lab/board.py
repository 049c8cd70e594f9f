"""What a guest's machine is under QEMU, for each kind of processor that a guest may have."""
import dataclasses
import functools
import pathlib
import subprocess

from . import image

# Five-level page tables, SMAP, and string moves by single bytes (ERMS) are what TCG is slowest at.
AMD64_CPU = "max,la57=off,erms=off,fsrm=off,smap=off,smep=off,pku=off,svm=off"

KERNEL_LINE = ("net.ifnames=0 mitigations=off rcupdate.rcu_expedited=1 random.trust_cpu=on audit=0 systemd.show_status=auto loglevel=5 "
               "root=/dev/vda rw")


@dataclasses.dataclass(frozen=True)
class Board:
    qemu: str
    machine: str
    cpu: str
    kernel_line: str


@functools.cache
def tsc_khz():
    """The guests' clock, told and not left for them to measure: on a busy host that is wrong at times, and all their time with it."""
    program = image.compiled(pathlib.Path(__file__).parent.parent / "tsc_khz.c")
    return int(subprocess.run([program], check=True, capture_output=True, text=True).stdout)


def board_of(arch):
    """arm64: a Cortex-A72, which a Raspberry Pi 4 has; newer ones sign pointers (PAC), and TCG is slow at that. Its clock counts at a rate that it can be asked
    for. Address space randomization would have its kernel keep two sets of page tables (KPTI)."""
    if arch == "arm64":
        return Board("qemu-system-aarch64", "virt,gic-version=3", "cortex-a72", f"console=ttyAMA0 kpti=off {KERNEL_LINE}")
    return Board("qemu-system-x86_64", "q35,usb=off", AMD64_CPU,
                 f"console=ttyS0 {KERNEL_LINE} tsc=reliable 8250.nr_uarts=1 tsc_early_khz={tsc_khz()}")
