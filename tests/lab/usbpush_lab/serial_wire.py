"""The wire behind a serial device: what the world beyond the adapter sends and receives."""
import contextlib
import select
import socket
import threading
import time

from .connection import LabError


class SerialWire:
    """Connects when first used. Everything that arrives is kept, by a thread that
    never lets the device wait; connects again by itself when the Pi lost power."""

    def __init__(self, path):
        self.path = path
        self._received = bytearray()
        self._changed = threading.Condition()
        self._socket = None
        self._is_closed = False
        self._thread = None

    def open(self, timeout=10):
        """Connects now; else the first read or write does."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._drain, daemon=True)
                self._thread.start()
            if not self._changed.wait_for(lambda: self._socket is not None, timeout):
                raise LabError(f"{self.path}: the wire can't be reached. Is the device plugged in?")
        return self

    def write(self, data, timeout=60):
        """All of it, to the connection that there is. OSError: that went meanwhile, as when the Pi loses power; who knows what arrived."""
        self.open()
        limit = time.monotonic() + timeout
        view = memoryview(bytes(data))
        with self._changed:
            if self._socket is None:
                raise ConnectionResetError(f"{self.path}: the wire was cut")
            s = self._socket.dup()  # ours to wait on, whatever the reading thread closes
        with s:
            while view:
                # Blocking is a property of the connection, not of the descriptor: the thread that reads has the same one.
                writable = select.select([], [s], [], max(0, limit - time.monotonic()))[1]
                if not writable:
                    raise LabError(f"{self.path}: the device took no more for {timeout} s; {len(view)} bytes are left")
                with contextlib.suppress(BlockingIOError):
                    view = view[s.send(view[:65536], socket.MSG_DONTWAIT):]

    def read(self, n, timeout=30):
        """Exactly n bytes."""
        self.open()
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._received) >= n, timeout):
                raise LabError(f"{self.path}: {len(self._received)} of {n} bytes came in {timeout} s: "
                               f"{bytes(self._received[:80])!r}")
            data = bytes(self._received[:n])
            del self._received[:n]
            return data

    def read_until(self, mark, timeout=30):
        """Up to and with this mark."""
        self.open()
        with self._changed:
            if not self._changed.wait_for(lambda: mark in self._received, timeout):
                raise LabError(f"{self.path}: no {mark!r} came in {timeout} s, only {bytes(self._received[-200:])!r}")
            end = self._received.index(mark) + len(mark)
            data = bytes(self._received[:end])
            del self._received[:end]
            return data

    def take(self):
        """Whatever has come so far."""
        with self._changed:
            data = bytes(self._received)
            self._received.clear()
            return data

    def close(self):
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)

    def _drain(self):
        while not self._is_closed:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(self.path)
            except OSError:
                s.close()
                with self._changed:
                    self._changed.wait(0.05)
                continue
            self._drain_one(s)

    def _drain_one(self, s):
        with self._changed:
            self._socket = s
            self._changed.notify_all()
        try:
            while data := s.recv(65536):
                with self._changed:
                    self._received += data
                    self._changed.notify_all()
        except OSError:
            pass
        with self._changed:
            self._socket = None
        s.close()
