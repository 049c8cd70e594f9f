"""The wire between the guests: the repeater process and what it is told."""
import asyncio

from . import image, process

SOURCE = image.GUEST_DIR.parent / "repeater.c"


class NetworkError(Exception):
    pass


class Network:
    def __init__(self, state_dir, names):
        self._dir, self._names = state_dir, names
        self._child = None
        self._turn = asyncio.Lock()
        self.state = {name: {"from": 1, "to": 1, "delay": 0, "loss": 0} for name in names}

    def hub_path(self, name):
        return self._dir / f"{name}.hub"

    def nic_path(self, name):
        return self._dir / f"{name}.nic"

    async def start(self):
        self._child = await process.start_process(
            self._dir, image.compiled(SOURCE), self._dir, *self._names,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        await self._answer()

    async def set(self, name, what, value):
        if name not in self.state:
            raise NetworkError(f"{name}: no such guest. There are {', '.join(self._names)}.")
        async with self._turn:
            self._child.stdin.write(f"{name} {what} {int(value)}\n".encode())
            await self._answer()
            self.state[name][what] = int(value)

    async def cut(self, names=None, only=None):
        """only: "from" or "to" for a wire that fails in one direction."""
        for name in names or self._names:
            for what in [only] if only else ["from", "to"]:
                await self.set(name, what, 0)

    async def heal(self):
        for name in self._names:
            for what, value in (("delay", 0), ("loss", 0), ("from", 1), ("to", 1)):
                await self.set(name, what, value)

    async def slow(self, delay_ms, loss_percent):
        for name in self._names:
            await self.set(name, "delay", delay_ms * 1000)
            await self.set(name, "loss", loss_percent * 10000)

    async def _answer(self):
        line = await self._child.stdout.readline()
        if line != b"ok\n":
            raise NetworkError(f"the repeater between the guests answered {line!r}; `lab down` and `lab up` start it anew")
