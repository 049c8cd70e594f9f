"""A real Chromium on this machine in front of a guest's web page, at the address that a person would type."""
import json
import os
import pathlib
import socket
import subprocess
import threading

from usbpush_lab import LabError

TESTS = pathlib.Path(__file__).resolve().parent.parent
BROWSER = TESTS / "browser"


class Forward:
    """A port of this machine's loopback that leads to host:port as the guest sees it."""

    def __init__(self, guest, host, port):
        self._guest, self._to = guest, f"{host}:{port}"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._socket.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client):
        def to_client(data):
            try:
                client.sendall(data) if data else client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

        try:
            program = self._guest.spawn(f"exec socat -t 5 STDIO TCP:{self._to},nodelay", to_client)
            while data := client.recv(1 << 16):
                program.write(data)
            program.kill()
        except (LabError, OSError):
            pass
        client.close()


class Browser:
    """tests/browser/steer.js; its verbs are this object's methods."""

    def __init__(self, guest, origin, port):
        self._forward = Forward(guest, guest.address, port)
        subprocess.run([BROWSER / "setup"], check=True)
        self.shots = pathlib.Path(os.environ.get("USBPUSH_SHOTS") or pathlib.Path(os.environ.get("USBPUSH_BUILD_DIR", TESTS.parent / "build/dev")) / "screenshots")
        self._program = subprocess.Popen(["node", BROWSER / "steer.js", origin, str(self._forward.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         env={**os.environ, "USBPUSH_SHOTS": str(self.shots)}, text=True)

    def close(self):
        self._program.stdin.close()
        self._program.wait(30)
        self._forward.close()

    def __getattr__(self, verb):
        return lambda *arguments: self._ask(verb, *arguments)

    def _ask(self, *words):
        self._program.stdin.write(json.dumps(words) + "\n")
        self._program.stdin.flush()
        answer = json.loads(self._program.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["is"]
