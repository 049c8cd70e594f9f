"""The process that keeps a lab: it starts the guests, holds every connection to
them, and serves the lab's control socket. It ends, and everything with it, on
`lab down`, SIGTERM, or when it is killed.

A request is one line of JSON, {"verb": ...}; the answer one line, {"ok": true,
"result": ...} or {"ok": false, "error": ...}. "exec" goes on with frames in both
directions, "follow" with one event a line.
"""
import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import struct
import sys
import time
import traceback

from . import agent_link, image, process, snapshots, topology
from .devices import DeviceError, Devices
from .event_log import EventLog, matches
from .gadgets import GadgetError, GadgetWires, run
from .machine import Machine, MachineError
from .network import Network, NetworkError

FRAME = struct.Struct("<BI")
EXPECTED = (agent_link.AgentError, DeviceError, GadgetError, MachineError, NetworkError, topology.SocketError,
            TimeoutError)


def disk_dir_of(state_dir):
    """Where the guests' disks lie: they are too big for a /run that is memory."""
    name = hashlib.sha256(str(state_dir).encode()).hexdigest()[:12]
    return image.CACHE / "disks" / name


class Supervisor:
    def __init__(self, state_dir, guests=topology.DEFAULT_GUESTS):
        self.dir = pathlib.Path(state_dir)
        self.disk_dir = disk_dir_of(self.dir)
        self.guests = guests
        self.log = EventLog()
        self.network = Network(self.dir, [g.name for g in guests])
        self.devices = Devices(self)
        self.gadget_wires = GadgetWires(self)
        self.machines = {g.name: Machine(g, self) for g in guests}
        self.over = asyncio.Event()
        self._tasks = set()

    def machine(self, name):
        if name not in self.machines:
            raise MachineError(f"{name}: no such guest. There are {', '.join(self.machines)}.")
        return self.machines[name]

    async def run(self):
        (self.dir / "wires").mkdir(exist_ok=True)
        self.disk_dir.mkdir(parents=True, exist_ok=True)
        await self.network.start()
        taken = await snapshots.ensure_snapshots(self) if snapshots.is_wanted() else {}
        await asyncio.gather(*[self._first_start(m, taken.get(m.name)) for m in self.machines.values()])
        server = await asyncio.start_unix_server(self._serve, self.dir / "control.new", limit=1 << 22)
        os.chmod(self.dir / "control.new", 0o600)
        os.rename(self.dir / "control.new", self.dir / "control")
        await self.over.wait()
        server.close()
        for machine in self.machines.values():
            await machine.stop()
        shutil.rmtree(self.disk_dir, ignore_errors=True)

    async def _first_start(self, machine, snapshot):
        machine.make_disk(snapshot)
        await self.power_on(machine, snapshot)
        if snapshot:  # it still has the time of then
            await run(machine, f"date -s @{time.time():.3f} >/dev/null; echo {os.urandom(64).hex()} > /dev/urandom")

    async def power_on(self, machine, snapshot=None):
        await machine.start(snapshot)
        await self.devices.insert_all(machine.name)
        await machine.run()

    def take_ready(self, name):
        """A Pi is up: its gadgets are put back if they went with its last boot."""
        self.start_task(self.devices.insert_gadgets(name))

    def start_task(self, coroutine):
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader, writer):
        try:
            line = await reader.readline()
            if line:
                await self._answer(json.loads(line), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _answer(self, request, reader, writer):
        verb = request.pop("verb", "")
        try:
            if verb == "exec":
                await self._exec(reader, writer, **request)
                return
            if verb == "follow":
                await self._follow(writer, **request)
                return
            answer = {"ok": True, "result": await getattr(self, f"do_{verb}")(**request)}
        except EXPECTED as e:
            answer = {"ok": False, "error": str(e) or f"{verb}: took too long"}
        except Exception as e:  # a fault of the lab itself: tell it, and go on
            traceback.print_exc()
            answer = {"ok": False, "error": f"lab: {verb}: {e!r} (a fault of the lab; see its supervisor.log)"}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()

    async def _exec(self, reader, writer, guest, argv, pty=False, rows=24, columns=80, timeout=None):
        machine = self.machine(guest)
        if not machine.is_on:
            raise MachineError(f"{guest}: has no power. `lab start {guest}` gives it.")
        stream = await machine.agent.open(argv, pty, rows, columns, timeout=timeout or 120)
        writer.write(b'{"ok": true}\n')
        feeder = asyncio.create_task(self._feed(reader, stream))
        try:
            async with asyncio.timeout(timeout):
                while not await self._pass_on(stream, writer):
                    pass
        except TimeoutError:
            text = f"timed out after {timeout} s"
            writer.write(FRAME.pack(agent_link.ERROR, len(text)) + text.encode())
            await writer.drain()
        finally:
            feeder.cancel()
            stream.kill(signal.SIGKILL)

    @staticmethod
    async def _pass_on(stream, writer):
        kind, data = await stream.frames.get()
        writer.write(FRAME.pack(kind, len(data)) + data)
        await writer.drain()
        return kind in (agent_link.EXIT, agent_link.ERROR)

    @staticmethod
    async def _feed(reader, stream):
        try:
            while True:
                kind, length = FRAME.unpack(await reader.readexactly(FRAME.size))
                data = await reader.readexactly(length)
                if kind == agent_link.STDIN:
                    await stream.write(data)
                else:
                    stream.send(kind, data)
        except (ConnectionError, asyncio.IncompleteReadError):
            stream.kill(signal.SIGHUP)  # who asked has gone
            await asyncio.sleep(0.5)
            stream.kill(signal.SIGKILL)

    async def _follow(self, writer, match=None):
        writer.write(b'{"ok": true}\n')
        async for event in self.log.follow():
            if matches(event, match or {}):
                writer.write(json.dumps(event).encode() + b"\n")
                await writer.drain()

    async def do_down(self):
        self.over.set()

    async def do_status(self):
        guests = []
        for m in self.machines.values():
            state = "off" if not m.is_on else "ready" if m.agent.is_ready.is_set() else "booting"
            guests.append({"name": m.name, "role": m.spec.role, "suite": m.spec.suite, "arch": m.spec.arch, "image": str(m.image.path), "address": m.spec.address, "state": state,
                           "pid": m._child.pid if m.is_on else None, "boots": m.n_boots, "has_slept": m.has_slept,
                           "boot_id": m.agent.boot_id, "for_s": time.monotonic() - (m.started_at or 0)})
        return {"pid": os.getpid(), "now": time.monotonic(), "guests": guests, "wire": self.network.state,
                "devices": [d.as_json() for d in self.devices.plugged.values()]}

    async def do_wait_ready(self, guests=None, timeout=240):
        names = guests or list(self.machines)
        times = await asyncio.gather(*[self.machine(n).wait_ready(timeout) for n in names])
        return dict(zip(names, times))

    async def do_plug(self, kind, socket=None, guest="pi", **options):
        machine = self.machine(guest)
        if machine.spec.role != "pi":
            raise MachineError(f"{guest}: has no USB socket")
        return (await self.devices.plug(guest, kind, socket, **options)).as_json()

    async def do_unplug(self, socket, guest="pi"):
        if socket == "all":
            mine = sorted((s for g, s in self.devices.plugged if g == guest), key=len, reverse=True)
            return [await self.devices.unplug(guest, s) for s in mine]
        return await self.devices.unplug(guest, socket)

    async def do_reenumerate(self, socket, guest="pi"):
        return await self.devices.reenumerate(guest, socket)

    async def do_buses(self, guest="pi"):
        found = topology.parse_buses(await run(self.machine(guest), topology.LIST_BUSES))
        return [[letter, is_super, number] for (letter, is_super), number in found.items()]

    async def do_cut(self, guests=None, only=None):
        await self.network.cut(guests, only)
        return time.monotonic()

    async def do_heal(self):
        await self.network.heal()
        return time.monotonic()

    async def do_delay(self, ms=0, loss=0):
        await self.network.slow(ms, loss)
        return time.monotonic()

    async def do_reset(self, guest):
        await self.machine(guest).reset()
        return time.monotonic()

    async def do_kill(self, guest):
        t = time.monotonic()
        await self.machine(guest).stop()
        return t

    async def do_start(self, guest):
        await self.power_on(self.machine(guest))
        return self.machine(guest).started_at

    async def do_wait_asleep(self, guest, timeout=60):
        """Until it is suspended to memory."""
        async with asyncio.timeout(timeout):
            await self.machine(guest).fell_asleep.wait()
        return time.monotonic()

    async def do_wake(self, guest):
        t = time.monotonic()
        await self.machine(guest).wake()
        return t

    async def do_pause(self, guest):
        await self.machine(guest).pause()
        return time.monotonic()

    async def do_go_on(self, guest):
        t = time.monotonic()
        await self.machine(guest).go_on()
        return t

    async def do_bring_round(self, guest):
        """Neither asleep nor paused, whatever it was."""
        machine = self.machine(guest)
        if machine.is_paused:
            await machine.go_on()
        if machine.fell_asleep.is_set():
            await machine.wake()

    async def do_wait_boot(self, guest, after, timeout=240):
        """Until boot number `after` + 1 (or later) has begun."""
        async with asyncio.timeout(timeout):
            while self.machine(guest).n_boots <= after:
                await self.machine(guest).booted.wait()

    async def do_console(self, guest, lines=200):
        return self.machine(guest).console_tail(n_lines=lines)

    async def do_events(self, match=None, since=0.0):
        return self.log.find(match or {}, since)

    async def do_wait_event(self, match, since=0.0, timeout=30):
        return await self.log.wait(match, since, timeout)


async def keep_lab(state_dir, kinds):
    supervisor = Supervisor(state_dir, topology.guests_of(kinds))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.over.set)
    await supervisor.run()


def main():
    state_dir = pathlib.Path(sys.argv[1])
    lock = open(state_dir / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"lab: {state_dir}: a lab runs here already")
    process.note_process(state_dir, os.getpid())
    try:
        asyncio.run(keep_lab(state_dir, json.loads(sys.argv[2])))
    except (*EXPECTED, image.ImageError) as e:
        sys.exit(f"lab: {e}")  # the log that says so stays
    finally:
        process.end_noted_processes(state_dir)
    shutil.rmtree(state_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
