"""A command in a guest with this terminal as its terminal."""
import os
import select
import shutil
import signal
import sys
import termios
import tty

from . import agent_link
from .connection import Connection


def run_interactive(lab, guest, argv):
    """Runs it on a pty; returns its exit code."""
    size = shutil.get_terminal_size()
    with Connection(lab.dir) as c:
        c.request("exec", guest=guest, argv=argv, pty=True, rows=size.lines, columns=size.columns)

        def resize(*_):
            now = shutil.get_terminal_size()
            c.send_frame(agent_link.WINSIZE, (now.columns << 16 | now.lines).to_bytes(4, "little"))

        before = termios.tcgetattr(0)
        signal.signal(signal.SIGWINCH, resize)
        try:
            tty.setraw(0)
            return relay(c, 0)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def run_piped(lab, guest, argv, timeout=None, has_input=True):
    """Runs it with our stdin, stdout and stderr; returns its exit code."""
    with Connection(lab.dir) as c:
        c.request("exec", guest=guest, argv=argv, timeout=timeout)
        if not has_input:
            c.send_frame(agent_link.STDIN_EOF)
        return relay(c, 0 if has_input else None)


def relay(c, stdin):
    sources = [c.socket] + ([stdin] if stdin is not None else [])
    while True:
        if stdin in select.select(sources, [], [])[0]:
            data = os.read(stdin, agent_link.CHUNK)
            c.send_frame(agent_link.STDIN if data else agent_link.STDIN_EOF, data)
            if not data:
                sources.remove(stdin)
        while c.has_frame():
            kind, data = c.read_frame()
            if kind == agent_link.STDOUT:
                write_all(1, data)
            elif kind == agent_link.STDERR:
                write_all(2, data)
            elif kind == agent_link.EXIT:
                return int.from_bytes(data, "little", signed=True)
            else:
                print(f"lab: {data.decode()}", file=sys.stderr)
                return 124


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def talk_on_wire(path):
    """Joins this terminal (or pipe) to the wire behind a device; ctrl-] ends it."""
    import socket
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    is_terminal = os.isatty(0)
    before = termios.tcgetattr(0) if is_terminal else None
    if is_terminal:
        print("(the wire; ctrl-] ends)", file=sys.stderr)
        tty.setraw(0)
    try:
        sources = [s, 0]
        while True:
            ready = select.select(sources, [], [], None if 0 in sources else 1.0)[0]
            if not ready:
                return 0  # our input has ended, and nothing more comes
            if 0 in ready:
                data = os.read(0, 4096)
                if is_terminal and b"\x1d" in data:
                    return 0
                if data:
                    s.sendall(data)
                else:
                    sources.remove(0)
            if s in ready:
                data = s.recv(65536)
                if not data:
                    return 0
                write_all(1, data)
    finally:
        if is_terminal:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
