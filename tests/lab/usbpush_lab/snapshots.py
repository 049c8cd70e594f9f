"""The guests as they are just after their first boot, so that a new lab is up in
seconds: each one's disk, and QEMU's record of its memory and devices."""
import asyncio
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile

from .gadgets import run


class Snapshot:
    def __init__(self, path):
        self.path = pathlib.Path(path)

    def disk(self, name):
        return self.path / f"{name}.qcow2"

    def memory(self, name):
        return self.path / f"{name}.memory"


def is_wanted():
    return os.environ.get("USBPUSH_LAB_COLD", "") in ("", "0")


def find_snapshot(lab):
    """The one that fits this image and these machines."""
    path = lab.image.snapshots / machines_hash(lab)
    return Snapshot(path) if path.is_dir() else None


def machines_hash(lab):
    text = repr(lab.guests)
    for machine in lab.machines.values():
        arguments = [str(a) for a in machine.arguments()]
        text += "\n".join(a.replace(str(lab.dir), "DIR").replace(str(lab.disk_dir), "DISKS") for a in arguments)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


async def ensure_snapshot(lab):
    """The snapshot, made first if need be: that takes a boot."""
    with open(lab.image.path / "snapshots.lock", "w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        snapshot = find_snapshot(lab)
        if snapshot is None:
            print("lab: the machines' first boot, kept as a snapshot for later", file=sys.stderr, flush=True)
            snapshot = await make_snapshot(lab)
        return snapshot


async def make_snapshot(lab):
    lab.image.snapshots.mkdir(exist_ok=True)
    for left_over in lab.image.snapshots.glob("making.*"):
        shutil.rmtree(left_over)
    work = Snapshot(tempfile.mkdtemp(prefix="making.", dir=lab.image.snapshots))
    try:
        for machine in lab.machines.values():
            machine.make_disk()
            await lab.power_on(machine)
        await asyncio.gather(*[save(machine, work) for machine in lab.machines.values()])
        final = lab.image.snapshots / machines_hash(lab)
        os.rename(work.path, final)
        return Snapshot(final)
    finally:
        for machine in lab.machines.values():
            await machine.stop()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(work.path)


async def save(machine, snapshot):
    await machine.wait_ready(timeout=1200)
    # Degraded is told by its exit code, and no reason to wait longer.
    await run(machine, "systemctl is-system-running --wait; udevadm settle; journalctl --flush; sync; "
                       "echo 1 > /proc/sys/vm/drop_caches; true", timeout=600)
    await machine.save(snapshot.memory(machine.name))
    await machine.stop()
    shutil.move(machine.disk, snapshot.disk(machine.name))
