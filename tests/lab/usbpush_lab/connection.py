"""The client's end of a lab's control socket."""
import json
import os
import pathlib
import select
import socket
import struct

from . import agent_link

FRAME = struct.Struct("<BI")
SUPERVISOR_GONE = "the lab's supervisor has gone. `tests/lab/lab up` starts it anew."


class LabError(Exception):
    """What happened, where, and what to do."""


class CommandFailed(LabError):
    def __init__(self, guest, command, code, out, err):
        self.guest, self.command, self.code, self.out, self.err = guest, command, code, out, err
        shown = (out + err).strip()[-4000:]
        super().__init__(f"{guest}: `{command}` ended with {code}:\n{shown}")


class CommandTimeout(LabError):
    pass


def default_dir():
    return pathlib.Path(os.environ.get("USBPUSH_LAB_DIR", "/run/usbpush-lab"))


class Connection:
    """One request to the supervisor and what comes back."""

    def __init__(self, state_dir):
        self.socket = socket.socket(socket.AF_UNIX)
        path = pathlib.Path(state_dir) / "control"
        try:
            self.socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as e:
            self.socket.close()
            raise LabError(f"no lab runs in {state_dir}. `tests/lab/lab up` starts one.") from e
        self._buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def request(self, verb, **arguments):
        try:
            self.socket.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
        except ConnectionError as e:
            raise LabError(SUPERVISOR_GONE) from e
        answer = self.read_line()
        if not answer["ok"]:
            raise LabError(answer["error"])
        return answer.get("result")

    def read_line(self):
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        return json.loads(line)

    def read_frame(self):
        kind, length = FRAME.unpack(self._take(FRAME.size))
        return kind, self._take(length)

    def has_frame(self):
        """Is there a whole frame, or the beginning of one that will be read to its end?"""
        if not self._buffer and select.select([self.socket], [], [], 0)[0]:
            self._fill()
        return bool(self._buffer)

    def send_frame(self, kind, data=b""):
        self.socket.sendall(FRAME.pack(kind, len(data)) + data)

    def _take(self, n):
        while len(self._buffer) < n:
            self._fill()
        data = bytes(self._buffer[:n])
        del self._buffer[:n]
        return data

    def _fill(self):
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError as e:
            raise LabError(SUPERVISOR_GONE) from e
        if not data:
            raise LabError(SUPERVISOR_GONE)
        self._buffer += data


def request(state_dir, verb, **arguments):
    with Connection(state_dir) as connection:
        return connection.request(verb, **arguments)


def send_stdin(connection, data):
    try:
        for at in range(0, len(data), agent_link.CHUNK):
            connection.send_frame(agent_link.STDIN, data[at:at + agent_link.CHUNK])
        connection.send_frame(agent_link.STDIN_EOF)
    except OSError:
        pass  # the command ended before it had read all
