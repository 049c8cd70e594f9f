"""Every uevent of a guest, stamped with the host's monotonic clock."""
import asyncio
import collections
import fnmatch
import struct
import time

from .agent_link import MAGIC

HEADER = struct.Struct("<IBQ")
KINDS = {ord("k"): "kernel", ord("u"): "udev"}
MAX_EVENTS = 30000


def parse_event(guest, kind, guest_nsec, payload, t):
    event = {"t": t, "guest": guest, "kind": KINDS.get(kind, "?"), "guest_t": guest_nsec / 1e9}
    for field in payload.split(b"\0"):
        key, equals, value = field.partition(b"=")
        if equals:
            event[key.decode(errors="replace").lower()] = value.decode(errors="backslashreplace")
    path = event.get("devname") or event.get("devpath", "")
    event["name"] = path.rsplit("/", 1)[-1]
    return event


def matches(event, wanted):
    """Each wanted key has this value; * and ? stand for what they do in a shell."""
    return all(key in event and fnmatch.fnmatchcase(str(event[key]), str(value))
               for key, value in wanted.items())


class EventLog:
    """All guests' events in the order of their arrival."""

    def __init__(self):
        self.events = collections.deque(maxlen=MAX_EVENTS)
        self._arrived = asyncio.Condition()
        self._n_arrived = 0

    async def add(self, events):
        async with self._arrived:
            self.events.extend(events)
            self._n_arrived += len(events)
            self._arrived.notify_all()

    def find(self, wanted, since):
        return [e for e in self.events if e["t"] >= since and matches(e, wanted)]

    async def wait(self, wanted, since, timeout):
        """The first such event at or after `since`, else None when time is up."""
        try:
            async with asyncio.timeout(timeout), self._arrived:
                seen = self._n_arrived
                fresh = [e for e in self.events if e["t"] >= since]
                while True:
                    for event in fresh:
                        if matches(event, wanted):
                            return event
                    await self._arrived.wait()
                    n_new = min(self._n_arrived - seen, len(self.events))
                    seen = self._n_arrived
                    fresh = [e for e in (self.events[-i] for i in range(n_new, 0, -1)) if e["t"] >= since]
        except TimeoutError:
            return None

    async def follow(self):
        """Every event that comes from now on."""
        seen = self._n_arrived
        while True:
            async with self._arrived:
                await self._arrived.wait_for(lambda: self._n_arrived > seen)
                n_new = min(self._n_arrived - seen, len(self.events))
                seen = self._n_arrived
                fresh = [self.events[-i] for i in range(n_new, 0, -1)]
            for event in fresh:
                yield event


class EventReader:
    """Reads one guest's event port into the log."""

    def __init__(self, guest, log):
        self.guest, self._log = guest, log
        self._buffer = bytearray()
        self._in_step = False
        self._task = self._writer = None

    async def connect(self, path, is_restored=False):
        reader, self._writer = await asyncio.open_unix_connection(path)
        self._in_step = is_restored
        self._task = asyncio.create_task(self._read(reader))

    def close(self):
        if self._task:
            self._task.cancel()
            self._writer.close()

    def lose(self):
        self._in_step = False
        self._buffer.clear()

    async def _read(self, reader):
        try:
            while data := await reader.read(1 << 18):
                t = time.monotonic()
                self._buffer += data
                events = list(self._parse(t))
                if events:
                    await self._log.add(events)
        except ConnectionError:
            pass

    def _parse(self, t):
        while True:
            at = self._buffer.find(MAGIC)
            if at >= 0:
                del self._buffer[:at + len(MAGIC)]
                self._in_step = True
            elif not self._in_step:
                del self._buffer[:-len(MAGIC)]
            if not self._in_step or len(self._buffer) < HEADER.size:
                return
            length, kind, guest_nsec = HEADER.unpack_from(self._buffer)
            if length > 65536:
                self.lose()
                return
            if len(self._buffer) < HEADER.size + length:
                return
            payload = bytes(self._buffer[HEADER.size:HEADER.size + length])
            del self._buffer[:HEADER.size + length]
            yield parse_event(self.guest, kind, guest_nsec, payload, t)
