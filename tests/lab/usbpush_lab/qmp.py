"""QEMU's own control socket (QMP), for asyncio."""
import asyncio
import json


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    def __init__(self, on_event):
        self._on_event = on_event
        self._waiting = {}
        self._next_id = 0
        self._reader = self._writer = self._task = None

    async def connect(self, path, timeout=20):
        async with asyncio.timeout(timeout):
            while self._writer is None:
                try:
                    self._reader, self._writer = await asyncio.open_unix_connection(path, limit=1 << 24)
                except (FileNotFoundError, ConnectionRefusedError):
                    await asyncio.sleep(0.01)
        await self._reader.readline()  # greeting
        self._task = asyncio.create_task(self._read())
        await self.command("qmp_capabilities")

    async def command(self, name, timeout=30, **arguments):
        if self._writer is None or self._writer.is_closing():
            raise QmpError(f"{name}: this QEMU has ended")
        self._next_id += 1
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._next_id] = answer
        line = {"execute": name, "arguments": arguments, "id": self._next_id}
        self._writer.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(timeout):
            reply = await answer
        if "error" in reply:
            raise QmpError(f"{name}: {reply['error'].get('desc', reply['error'])}")
        return reply.get("return")

    def close(self):
        if self._task:
            self._task.cancel()
        if self._writer:
            self._writer.close()
        self._fail_waiting()

    def _fail_waiting(self):
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result({"error": {"desc": "this QEMU has ended"}})
        self._waiting.clear()

    async def _read(self):
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if "event" in message:
                    self._on_event(message["event"], message.get("data", {}))
                elif message.get("id") in self._waiting:
                    answer = self._waiting.pop(message["id"])
                    if not answer.done():
                        answer.set_result(message)
        except ConnectionError:
            pass
        finally:
            self._writer.close()
            self._fail_waiting()
