"""An sshd in foreign hands, for tests/unit/test_pi_rogue_sshd.c: lets the Pi in, plays the handler on its first channel, and then does one thing that no sshd does.

    rogue_sshd.py HOSTKEY ACT[,ACT...] LOG    on the connection that is its stdin

After each act it asks something on the control channel, and writes the act into LOG when the Pi has answered.

Every message is made by hand (RFC 4253, 4254); paramiko has the key exchange and the cipher."""
import json
import socket
import sys
import threading
import time

import paramiko
from paramiko import common as msg

HELLO = {"type": "hello", "protocol": 1, "software": "rogue", "role": "vm", "id": "f", "name": "rogue", "boot_id": "b", "patience_ms": 8000}
NOBODY = 4242  # a channel that there is not


class Server(paramiko.ServerInterface):
    def __init__(self, act):
        self.act = act

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED if self.act != "refuse-channels" else paramiko.OPEN_FAILED_RESOURCE_SHORTAGE

    def check_channel_exec_request(self, channel, command):
        return self.act != "refuse-exec"


class Rogue:
    def __init__(self, transport, channel):
        self.transport, self.channel = transport, channel
        self.id = channel.remote_chanid

    def message(self, number, *fields):
        """One message: bytes are strings, ints uint32, bools booleans."""
        m = paramiko.Message()
        m.add_byte(bytes([number]))
        for field in fields:
            if isinstance(field, bool):
                m.add_boolean(field)
            elif isinstance(field, int):
                m.add_int(field)
            else:
                m.add_string(field)
        self.transport._send_user_message(m)

    def raw(self, data):
        m = paramiko.Message(data)
        self.transport._send_user_message(m)

    def data(self, text, to=None):
        self.message(msg.cMSG_CHANNEL_DATA[0], self.id if to is None else to, text)

    def request(self, kind, *fields, reply=True, to=None):
        self.message(msg.cMSG_CHANNEL_REQUEST[0], self.id if to is None else to, kind, reply, *fields)

    def open(self, kind, *fields):
        self.message(msg.cMSG_CHANNEL_OPEN[0], kind, 77, 1 << 20, 32768, *fields)

    def ask_all(self, kind, *fields):
        self.message(msg.cMSG_GLOBAL_REQUEST[0], kind, True, *fields)

    def adjust(self, n, to=None):
        self.message(msg.cMSG_CHANNEL_WINDOW_ADJUST[0], self.id if to is None else to, n)

    def repeat(self, do, *arguments, times=2000, **options):
        for _ in range(times):
            do(*arguments, **options)


# Each is one thing. Its name is in the test's table.
ACTS = {
    "open-session": lambda r: r.open("session"),
    "open-x11": lambda r: r.open("x11", "10.0.0.1", 6000),
    "open-agent": lambda r: r.open("auth-agent@openssh.com"),
    "open-forwarded": lambda r: r.open("forwarded-tcpip", "127.0.0.1", 22, "10.0.0.1", 1),
    "open-direct": lambda r: r.open("direct-tcpip", "127.0.0.1", 22, "10.0.0.1", 1),
    "open-socket": lambda r: r.open("direct-streamlocal@openssh.com", "/run/usbpush/control.sock", "", 0),
    "open-tunnel": lambda r: r.open("tun@openssh.com", 1, 0),
    "open-nonsense": lambda r: r.open("\x1b[2J" + "x" * 5000),
    "open-thousands": lambda r: r.repeat(r.open, "session"),
    "ask-hostkeys": lambda r: r.ask_all("hostkeys-00@openssh.com", b"x" * 60),
    "ask-forward": lambda r: r.ask_all("tcpip-forward", "0.0.0.0", 8080),
    "ask-nonsense": lambda r: r.repeat(r.ask_all, "x" * 5000),
    "exec": lambda r: r.request("exec", "touch /tmp/mark"),
    "shell": lambda r: r.request("shell"),
    "pty": lambda r: r.request("pty-req", "xterm", 80, 24, 0, 0, ""),
    "env": lambda r: r.request("env", "LD_PRELOAD", "/tmp/evil.so"),
    "subsystem": lambda r: r.request("subsystem", "sftp"),
    "signal": lambda r: r.request("signal", "KILL", reply=False),
    "exit-status": lambda r: r.request("exit-status", 255, reply=False),
    "exit-signal": lambda r: r.request("exit-signal", "SEGV", True, "\x1b[2J", "", reply=False),
    "request-nonsense": lambda r: r.repeat(r.request, "x" * 5000),
    "request-to-nobody": lambda r: r.request("exec", "x", to=NOBODY),
    "data-to-nobody": lambda r: r.data(b"x", to=NOBODY),
    "adjust-to-nobody": lambda r: r.adjust(1, to=NOBODY),
    "adjust-beyond": lambda r: r.repeat(r.adjust, 0xffffffff, times=10),
    "adjust-nothing": lambda r: r.repeat(r.adjust, 0),
    "stderr-flood": lambda r: r.repeat(r.message, msg.cMSG_CHANNEL_EXTENDED_DATA[0], r.id, 1, b"x" * 30000, times=100),
    "stderr-unknown": lambda r: r.message(msg.cMSG_CHANNEL_EXTENDED_DATA[0], r.id, 99, b"x" * 3000),
    "empty-data": lambda r: r.repeat(r.data, b""),
    "success-unasked": lambda r: r.repeat(r.message, msg.cMSG_CHANNEL_SUCCESS[0], r.id),
    "failure-unasked": lambda r: r.repeat(r.message, msg.cMSG_CHANNEL_FAILURE[0], r.id),
    "confirm-twice": lambda r: r.message(msg.cMSG_CHANNEL_OPEN_SUCCESS[0], r.id, 9, 1 << 20, 32768),
    "refuse-open": lambda r: r.message(msg.cMSG_CHANNEL_OPEN_FAILURE[0], r.id, 1, "\x1b[2J", ""),
    "confirm-nobody": lambda r: r.message(msg.cMSG_CHANNEL_OPEN_SUCCESS[0], NOBODY, 9, 1 << 20, 32768),
    "eof-and-data": lambda r: (r.message(msg.cMSG_CHANNEL_EOF[0], r.id), r.data(b'{"type":"sing"}\n')),
    "eof-twice": lambda r: r.repeat(r.message, msg.cMSG_CHANNEL_EOF[0], r.id, times=2),
    "close-twice": lambda r: r.repeat(r.message, msg.cMSG_CHANNEL_CLOSE[0], r.id, times=2),
    "close-and-data": lambda r: (r.message(msg.cMSG_CHANNEL_CLOSE[0], r.id), r.data(b"x" * 1000)),
    "ignore-flood": lambda r: r.repeat(r.message, msg.cMSG_IGNORE[0], b"x" * 30000, times=300),
    "debug-flood": lambda r: r.repeat(r.message, msg.cMSG_DEBUG[0], True, "\x1b[2J" * 1000, ""),
    "unimplemented": lambda r: r.repeat(r.message, msg.cMSG_UNIMPLEMENTED[0], 1),
    "number-255": lambda r: r.raw(b"\xff" + b"x" * 100),
    "number-0": lambda r: r.raw(b"\x00" + b"x" * 100),
    "userauth-later": lambda r: r.message(52),
    "banner-later": lambda r: r.message(53, "\x1b[2J", ""),
    "rekey": lambda r: r.transport.renegotiate_keys(),
    "kexinit-nonsense": lambda r: r.raw(bytes([20]) + b"\xff" * 40),
    "newkeys-unasked": lambda r: r.raw(bytes([21])),
    "service-accept": lambda r: r.message(6, "ssh-connection"),
    "half-a-message": lambda r: r.raw(bytes([94]) + r.id.to_bytes(4, "big") + b"\x00\x00\xff\xff"),
    "length-beyond": lambda r: r.raw(bytes([94]) + r.id.to_bytes(4, "big") + b"\xff\xff\xff\xff" + b"x" * 10),
    "disconnect": lambda r: r.message(msg.cMSG_DISCONNECT[0], 11, "\x1b[2Jgo away", ""),
    "beyond-the-window": lambda r: r.repeat(r.data, b'{"type":"sing"}\n' * 1800, times=2000),
    "garbage": lambda r: r.transport.sock.send(b"\x00" * 4096),
    "length-of-a-packet": lambda r: r.transport.sock.send(b"\xff\xff\xff\xf0" + b"x" * 4096),
}

# Before there is any SSH.
EARLY = {
    "early-no-ssh": lambda s: s.sendall(b"HTTP/1.1 200 OK\r\n\r\n"),
    "early-version-1": lambda s: s.sendall(b"SSH-1.5-old\r\n"),
    "early-endless-line": lambda s: [s.sendall(b"x" * 65536) for _ in range(100)],
    "early-endless-lines": lambda s: [s.sendall(b"hello\r\n" * 9000) for _ in range(100)],
    "early-nul": lambda s: s.sendall(b"SSH-2.0-\0\0\0\r\n"),
    "early-packet": lambda s: s.sendall(b"SSH-2.0-x\r\n" + b"\xff\xff\xff\xff" + b"x" * 65536),
    "early-empty-packet": lambda s: s.sendall(b"SSH-2.0-x\r\n" + b"\x00\x00\x00\x00" * 100),
    "early-kex": lambda s: s.sendall(b"SSH-2.0-x\r\n" + (44).to_bytes(4, "big") + b"\x06\x14" + b"\xff" * 42),
    "early-end": lambda s: s.close(),
    "early-silence": lambda s: None,
}


def read_line(channel, pending):
    while b"\n" not in pending:
        got = channel.recv(4096)
        if not got:
            return None
        pending += got
    line, _, rest = bytes(pending).partition(b"\n")
    pending[:] = rest
    return json.loads(line)


class Handler:
    """The handler's part on one channel; on the first one that syncs the acts are done, one after the other."""

    def __init__(self, transport, acts, log):
        self.transport, self.acts, self.log = transport, acts, log
        self.is_acting = False

    def say(self, channel, **fields):
        channel.sendall(json.dumps(fields).encode() + b"\n")

    def do_next(self, channel):
        if self.acts:
            ACTS[self.acts[0]](Rogue(self.transport, channel))
            self.say(channel, type="did-" + self.acts[0])

    def flood(self, channel):
        """A stream's bytes, beyond any window, whether or not somebody takes them."""
        rogue = Rogue(self.transport, channel)
        rogue.data(b"OK\n")
        rogue.repeat(rogue.data, b"x" * 32000, times=2000)
        with open(self.log, "a") as log:
            log.write("flooded\n")

    def note(self, of):
        if self.acts and of == "did-" + self.acts[0]:
            with open(self.log, "a") as log:
                log.write(self.acts.pop(0) + "\n")
            return True
        return False

    def serve(self, channel):
        pending = bytearray()
        while (line := read_line(channel, pending)) is not None:
            if line["type"] == "hello":
                self.say(channel, **HELLO)
            elif line["type"] == "sync":
                self.say(channel, type="synced", seq=line["seq"], keep=[])
                if not self.is_acting:
                    self.is_acting = True
                    self.do_next(channel)
            elif line["type"] == "stream":
                self.flood(channel)
            elif line["type"] == "ping":
                self.say(channel, type="pong", seq=line["seq"])
            elif line["type"] == "unknown" and self.note(line["of"]):
                self.do_next(channel)


def main():
    host_key, acts, log = sys.argv[1:]
    sock = socket.socket(fileno=0)
    if acts in EARLY:
        EARLY[acts](sock)
        time.sleep(60)
        return
    transport = paramiko.Transport(sock)
    transport.add_server_key(paramiko.Ed25519Key(filename=host_key))
    transport.start_server(server=Server(acts))
    handler = Handler(transport, [act for act in acts.split(",") if act in ACTS], log)
    while transport.is_active():
        channel = transport.accept(1)
        if channel and acts != "sleep":
            threading.Thread(target=handler.serve, args=(channel,), daemon=True).start()


main()
