"""The host's end of the agent in a guest: commands (guest/agent.c says how)."""
import asyncio
import os
import struct

MAGIC = b"\0usbpush\1lab\2go\n"
HELLO = struct.Struct("<8s?36s")
HEADER = struct.Struct("<III")

EXEC, STDIN, STDIN_EOF, KILL, WINSIZE, HELLO_AGAIN = 2, 3, 4, 5, 6, 7
STDOUT, STDERR, EXIT, CREDIT, READY, ERROR = 17, 18, 19, 20, 21, 30

WINDOW = 256 * 1024
CHUNK = 32 * 1024


class AgentError(Exception):
    """The agent is not there, or went away in the middle."""


class Stream:
    """One command in the guest. frames: (type, bytes), EXIT or ERROR last."""

    def __init__(self, link, number):
        self.link, self.number = link, number
        self.frames = asyncio.Queue()
        self._credit = WINDOW
        self._more_credit = asyncio.Event()
        self.has_ended = False

    async def write(self, data):
        for at in range(0, len(data), CHUNK):
            chunk = data[at:at + CHUNK]
            while self._credit < len(chunk) and not self.has_ended:
                self._more_credit.clear()
                await self._more_credit.wait()
            self._credit -= len(chunk)
            self.send(STDIN, chunk)

    def send(self, kind, data=b""):
        if not self.has_ended:
            self.link.send(self.number, kind, data)

    def kill(self, signal):
        self.send(KILL, struct.pack("<I", signal))

    def take(self, kind, data):
        if kind == CREDIT:
            self._credit += struct.unpack("<I", data)[0]
            self._more_credit.set()
            return
        if kind in (EXIT, ERROR):
            self.has_ended = True
            self._more_credit.set()
        self.frames.put_nowait((kind, data))


class AgentLink:
    def __init__(self, name, on_ready=lambda: None):
        self.name, self._on_ready = name, on_ready
        self.boot_id = None
        self.is_in_step = asyncio.Event()
        self.is_ready = asyncio.Event()
        self._streams = {}
        self._next = int.from_bytes(os.urandom(3)) << 4  # an old boot's answers fit nobody
        self._buffer = bytearray()
        self._writer = self._task = None

    async def connect(self, path, is_restored=False):
        reader, self._writer = await asyncio.open_unix_connection(path)
        self._task = asyncio.create_task(self._read(reader))
        if is_restored:
            self._write_frame(0, HELLO_AGAIN)

    def close(self):
        if self._task:
            self._task.cancel()
        if self._writer:
            self._writer.close()
        self.lose("the guest has lost power")

    def lose(self, why):
        """What was under way is gone; the next thing to come is a hello."""
        self.is_in_step.clear()
        self.is_ready.clear()
        self._buffer.clear()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.take(ERROR, why.encode())

    async def open(self, argv, pty=False, rows=24, columns=80, timeout=120):
        try:
            async with asyncio.timeout(timeout):
                await self.is_in_step.wait()
        except TimeoutError:
            raise AgentError(f"{self.name}: the agent in the guest has not answered for {timeout} s. "
                             f"`lab console {self.name}` shows how far it got.") from None
        self._next += 1
        stream = self._streams[self._next] = Stream(self, self._next)
        payload = struct.pack("<IHH", 1 if pty else 0, rows, columns)
        payload += b"".join(os.fsencode(a) + b"\0" for a in argv)
        self.send(stream.number, EXEC, payload)
        return stream

    def send(self, stream, kind, data=b""):
        if self.is_in_step.is_set():
            self._write_frame(stream, kind, data)

    def _write_frame(self, stream, kind, data=b""):
        self._writer.write(HEADER.pack(len(data), stream, kind) + data)

    async def _read(self, reader):
        try:
            while data := await reader.read(1 << 18):
                self._buffer += data
                self._parse()
        except ConnectionError:
            pass
        self.lose("the guest's QEMU has ended")

    def _parse(self):
        while True:
            # A restarted agent says hello in the middle of whatever was.
            if not self.is_in_step.is_set() or self._buffer[:len(MAGIC)] == MAGIC:
                if not self._parse_hello():
                    return
                continue
            if len(self._buffer) < HEADER.size or MAGIC.startswith(bytes(self._buffer[:len(MAGIC)])):
                return
            length, stream, kind = HEADER.unpack_from(self._buffer)
            if length > 1 << 20:
                self.lose("the agent is out of step")
                self._write_frame(0, HELLO_AGAIN)
                return
            if len(self._buffer) < HEADER.size + length:
                return
            data = bytes(self._buffer[HEADER.size:HEADER.size + length])
            del self._buffer[:HEADER.size + length]
            self._take(stream, kind, data)

    def _parse_hello(self):
        at = self._buffer.find(MAGIC)
        if at < 0:
            del self._buffer[:max(0, len(self._buffer) - len(MAGIC) + 1)]
            return False
        if len(self._buffer) < at + len(MAGIC) + HELLO.size:
            return False
        nonce, ready, boot_id = HELLO.unpack_from(self._buffer, at + len(MAGIC))
        rest = bytes(self._buffer[at + len(MAGIC) + HELLO.size:])
        self.lose("the agent in the guest has been started anew")
        self._buffer += rest
        self.boot_id = boot_id.decode()
        self._writer.write(MAGIC + nonce)
        self.is_in_step.set()
        if ready:
            self._take_ready()
        return True

    def _take_ready(self):
        if not self.is_ready.is_set():
            self.is_ready.set()
            self._on_ready()

    def _take(self, number, kind, data):
        if kind == READY:
            self._take_ready()
            return
        stream = self._streams.get(number)
        if stream is None:
            return
        if kind in (EXIT, ERROR):
            del self._streams[number]
        stream.take(kind, data)
