"""The guests as they are just after their first boot, so that a new lab is up in
seconds: each one's disk, and QEMU's record of its memory and devices. A guest's
lies beside the image it was booted from, and serves every lab with such a guest."""
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
        self.disk = self.path / "disk.qcow2"
        self.memory = self.path / "memory"


def is_wanted():
    return os.environ.get("USBPUSH_LAB_COLD", "") in ("", "0")


def find_snapshot(lab, machine):
    """The one that fits this image and this machine."""
    path = path_of(lab, machine)
    return Snapshot(path) if path.is_dir() else None


def path_of(lab, machine):
    words = [str(a).replace(str(lab.dir), "DIR").replace(str(lab.disk_dir), "DISKS") for a in machine.arguments()]
    text = "\n".join([repr(machine.spec), *words])
    return machine.image.snapshots / hashlib.sha256(text.encode()).hexdigest()[:16]


async def ensure_snapshots(lab):
    """The machines' snapshots by name; those that are missing are made first: that takes a boot."""
    async with contextlib.AsyncExitStack() as locks:
        for path in sorted({m.image.path for m in lab.machines.values()}):
            lock = locks.enter_context(open(path / "snapshots.lock", "w"))
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        missing = [m for m in lab.machines.values() if find_snapshot(lab, m) is None]
        if missing:
            print("lab: the machines' first boot, kept as a snapshot for later", file=sys.stderr, flush=True)
            await make_snapshots(lab, missing)
        return {m.name: find_snapshot(lab, m) for m in lab.machines.values()}


async def make_snapshots(lab, machines):
    works = {}
    try:
        for machine in machines:
            works[machine.name] = make_work(machine)
            machine.make_disk()
            await lab.power_on(machine)
        await asyncio.gather(*[save(machine, works[machine.name]) for machine in machines])
        for machine in machines:
            os.rename(works[machine.name].path, path_of(lab, machine))
    finally:
        for machine in machines:
            await machine.stop()
        for work in works.values():
            shutil.rmtree(work.path, ignore_errors=True)


def make_work(machine):
    """Where a snapshot grows. What one that was interrupted has left is taken away: the image is locked."""
    start = f"making.{machine.name}."
    machine.image.snapshots.mkdir(exist_ok=True)
    for left_over in machine.image.snapshots.glob(f"{start}*"):
        shutil.rmtree(left_over)
    return Snapshot(tempfile.mkdtemp(prefix=start, dir=machine.image.snapshots))


async def save(machine, snapshot):
    await machine.wait_ready(timeout=1200)
    # Degraded is told by its exit code, and no reason to wait longer.
    await run(machine, "systemctl is-system-running --wait; udevadm settle; journalctl --flush; sync; "
                       "echo 1 > /proc/sys/vm/drop_caches; true", timeout=600)
    await machine.save(snapshot.memory)
    await machine.stop()
    shutil.move(machine.disk, snapshot.disk)
