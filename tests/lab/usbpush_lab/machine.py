"""One guest: its QEMU, its power, its agent."""
import asyncio
import os
import subprocess
import time

from . import board, image, process, topology
from .agent_link import AgentLink
from .event_log import EventReader
from .qmp import Qmp, QmpError


class MachineError(Exception):
    pass


class Machine:
    def __init__(self, spec, lab):
        self.spec, self.name, self._lab = spec, spec.name, lab
        self._new_links()
        self.booted = asyncio.Event()  # set, and replaced, when a boot begins
        self.fell_asleep = asyncio.Event()  # set while it is suspended to memory
        self.has_slept = False  # since it was booted
        self.is_paused = False
        self.qmp = self._child = None
        self.started_at = None
        self.n_boots = 0
        self.image = image.ensure_image(spec.suite, spec.arch)
        self.board = board.board_of(spec.arch)
        self.disk = lab.disk_dir / f"{spec.name}.qcow2"

    def _new_links(self):
        self.agent = AgentLink(self.name, on_ready=lambda: self._lab.take_ready(self.name))
        self._events = EventReader(self.name, self._lab.log)

    def path(self, kind):
        return self._lab.dir / f"{self.name}.{kind}"

    @property
    def is_on(self):
        return self._child is not None and self._child.returncode is None

    def make_disk(self, snapshot=None):
        base = ["-F", "qcow2", "-b", snapshot.disk] if snapshot else ["-F", "raw", "-b", self.image.root]
        self.disk.unlink(missing_ok=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, self.disk], check=True)

    def arguments(self):
        """QEMU's command line; a snapshot fits only a machine with the same."""
        spec, net = self.spec, self._lab.network
        hosts = ",".join(f"{g.address}={g.name}" for g in self._lab.guests)
        kernel_line = (f"{self.board.kernel_line} lab.name={spec.name} lab.role={spec.role} "
                       f"lab.address={spec.address}/24 lab.hosts={hosts}")
        argv = ["-name", f"usbpush-lab-{spec.name}", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", self.board.cpu,
                "-machine", self.board.machine, "-m", str(spec.memory_mb), "-smp", str(spec.cpus),
                "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
                "-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append", kernel_line,
                "-blockdev", f"driver=qcow2,node-name=disk,file.driver=file,file.filename={self.disk},discard=unmap",
                "-device", "virtio-blk-pci,drive=disk,addr=0x3",
                "-netdev", f"dgram,id=net,local.type=unix,local.path={net.nic_path(self.name)},"
                           f"remote.type=unix,remote.path={net.hub_path(self.name)}",
                "-device", f"virtio-net-pci,netdev=net,mac={spec.mac},addr=0x4,romfile=",
                "-device", "virtio-serial-pci,addr=0x5", "-device", "virtio-rng-pci,addr=0x6",
                "-chardev", f"file,id=console,path={self.path('console')},append=on", "-serial", "chardev:console",
                "-qmp", f"unix:{self.path('qmp')},server=on,wait=off"]
        for port in ("agent", "events"):
            argv += ["-chardev", f"socket,id={port},path={self.path(port)},server=on,wait=off",
                     "-device", f"virtserialport,chardev={port},name=usbpush.{port}"]
        if spec.role == "pi":
            argv += ["-audiodev", f"wav,id=sound,path={self.path('wav')}"]  # what a sound device played last
            for letter, slot in topology.PCI_SLOT.items():
                argv += ["-device", f"qemu-xhci,p2={topology.PORTS},p3={topology.PORTS},id=xhci{letter},addr={slot:#x}"]
        return argv

    async def start(self, snapshot=None):
        """Power on, without letting it run yet; run() does. A snapshot: as it was then."""
        if self.is_on:
            raise MachineError(f"{self.name}: is running already")
        await self.stop()  # what is left of a guest that switched itself off
        for kind in ("qmp", "agent", "events", "nic"):
            self.path(kind).unlink(missing_ok=True)
        with open(self.path("qemu"), "ab") as log:
            self._child = await process.start_process(
                self._lab.dir, self.board.qemu, *self.arguments(), "-S",
                *(["-incoming", "defer"] if snapshot else []),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log)
        self.qmp = Qmp(self._take_event)
        try:
            await self.qmp.connect(self.path("qmp"))
            await self.agent.connect(self.path("agent"), is_restored=bool(snapshot))
            await self._events.connect(self.path("events"), is_restored=bool(snapshot))
            if snapshot:
                await self.qmp.command("migrate-incoming", uri=f"exec:cat {snapshot.memory}")
                await self._wait_migrated()
        except (OSError, TimeoutError) as e:
            text = self.path("qemu").read_text(errors="replace")[-2000:]
            raise MachineError(f"{self.name}: QEMU does not start ({e!r}):\n{text}") from e

    async def run(self):
        self._take_boot()
        await self.qmp.command("cont")

    async def save(self, path):
        """Stops the machine and writes its memory and devices to a file."""
        await self.qmp.command("stop")
        await self.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        await self.qmp.command("migrate", uri=f"exec:cat > {path}")
        await self._wait_migrated()

    async def _wait_migrated(self, timeout=120):
        async with asyncio.timeout(timeout):
            while (state := (await self.qmp.command("query-migrate")).get("status")) != "completed":
                if state in ("failed", "cancelled"):
                    raise MachineError(f"{self.name}: its snapshot can't be used ({state}). "
                                       f"Remove {self.image.path} and say `lab up`.")
                await asyncio.sleep(0.02)

    async def stop(self):
        """Power loss: nothing in the guest gets a chance to do anything."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()
        if self.qmp:
            self.qmp.close()
        self.agent.close()
        self._events.close()
        self._new_links()
        self.fell_asleep.clear()
        self.is_paused = False

    async def reset(self):
        if not self.is_on:
            raise MachineError(f"{self.name}: has no power. `lab start {self.name}` first.")
        await self.qmp.command("system_reset")

    async def wake(self):
        """As the power button of a machine that is suspended to memory does."""
        await self.qmp.command("system_wakeup")

    async def pause(self):
        """Its processor stands still, and so does its time: what a hypervisor's owner calls suspend."""
        await self.qmp.command("stop")
        self.is_paused = True

    async def go_on(self):
        self.is_paused = False
        await self.qmp.command("cont")

    async def wait_ready(self, timeout):
        ready = asyncio.create_task(self.agent.is_ready.wait())
        ended = asyncio.create_task(self._child.wait())
        done, pending = await asyncio.wait({ready, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if ready in done:
            return time.monotonic() - self.started_at
        if ended in done:
            raise MachineError(f"{self.name}: its QEMU has ended: {self.console_tail('qemu')}")
        raise MachineError(f"{self.name}: not up after {timeout:.0f} s. The end of its console:\n{self.console_tail()}")

    def console_tail(self, kind="console", n_lines=25):
        try:
            with open(self.path(kind), "rb") as f:
                f.seek(max(0, os.fstat(f.fileno()).st_size - max(8192, 200 * n_lines)))
                return "\n".join(f.read().decode(errors="replace").splitlines()[-n_lines:])
        except OSError:
            return "(nothing)"

    async def remove_device(self, device_id, timeout=10):
        """Returns when it was taken out, on the host's clock."""
        t = time.monotonic()
        try:
            await self.qmp.command("device_del", id=device_id)
        except QmpError as e:
            raise MachineError(f"{self.name}: {e}") from e
        return t

    def _take_event(self, event, data):
        if event == "RESET":
            self.fell_asleep.clear()
            self.agent.lose("the guest has been reset")
            self._events.lose()
            self._take_boot()
        elif event == "SUSPEND":
            self.fell_asleep.set()
            self.has_slept = True
        elif event == "WAKEUP":
            self.fell_asleep.clear()
        elif event == "DEVICE_DELETED" and "device" in data:
            self._lab.devices.take_removed(self.name, data["device"])

    def _take_boot(self):
        self.started_at = time.monotonic()
        self.has_slept = False
        self.n_boots += 1
        begun, self.booted = self.booted, asyncio.Event()
        begun.set()
