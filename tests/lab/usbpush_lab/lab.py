"""The lab as a test sees it: lab.pi, lab.vm, lab.wire, lab.plug(...)."""
import json
import pathlib
import shlex
import subprocess
import sys
import threading
import time

from . import agent_link, process, topology
from .connection import CommandFailed, CommandTimeout, Connection, LabError, default_dir, request, send_stdin
from .serial_wire import SerialWire

HERE = pathlib.Path(__file__).resolve().parent.parent


def wait_until(predicate, timeout=30, what=None, interval=0.05, lab=None):
    """Calls predicate until it is true, and returns what it gave. Fails with what
    was waited for, and with the guests' last words when the lab is given."""
    limit = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > limit:
            text = f"waited {timeout} s in vain for {what or getattr(predicate, '__doc__', None) or predicate}; last: {value!r}"
            raise AssertionError(text + (lab.last_words() if lab else ""))
        time.sleep(interval)


class Result(str):
    """What a command wrote to stdout, without the newline at its end; .code, .err too."""

    code: int
    err: str
    raw: bytes


class Guest:
    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.events = Events(lab, name)

    def sh(self, command, check=True, timeout=60, stdin=b"", strip=True):
        """Runs a shell command (or a list of words) as root. It is killed after
        `timeout` seconds. Fails on an exit code that is not 0, unless check=False."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        shown = command if isinstance(command, str) else shlex.join(argv)
        out, err, code = self._exec(argv, shown, timeout, stdin.encode() if isinstance(stdin, str) else stdin)
        text = out.decode(errors="surrogateescape")
        result = Result(text.rstrip("\n") if strip else text)
        result.code, result.err, result.raw = code, err.decode(errors="replace"), out
        if check and code != 0:
            raise CommandFailed(self.name, shown, code, text, result.err)
        return result

    def _exec(self, argv, shown, timeout, stdin):
        out, err = bytearray(), bytearray()
        with Connection(self.lab.dir) as c:
            c.request("exec", guest=self.name, argv=argv, timeout=timeout)
            if len(stdin) <= agent_link.CHUNK:
                send_stdin(c, stdin)
            else:
                threading.Thread(target=send_stdin, args=(c, stdin), daemon=True).start()
            while True:
                kind, data = c.read_frame()
                if kind == agent_link.STDOUT:
                    out += data
                elif kind == agent_link.STDERR:
                    err += data
                elif kind == agent_link.EXIT:
                    return out, err, int.from_bytes(data, "little", signed=True)
                else:
                    raise CommandTimeout(f"{self.name}: `{shown}`: {data.decode()}; so far: "
                                         f"{(out + err)[-2000:].decode(errors='replace')}")

    def spawn(self, command, on_output=None):
        """Starts a command and leaves it running; returns a Running. on_output is given each piece of its standard output as it comes, on a thread of
        its own, and b"" at the end."""
        return Running(self, command, on_output)

    def read(self, path):
        """A file's bytes."""
        return self.sh(["cat", str(path)], strip=False).raw

    def exists(self, path):
        return self.sh(["test", "-e", str(path)], check=False).code == 0

    def write(self, path, data):
        """Fills a file; also one of sysfs."""
        self.sh(["sh", "-c", 'cat > "$1"', "sh", str(path)], stdin=data)

    def put(self, local, path, mode=None):
        self.write(path, pathlib.Path(local).read_bytes())
        if mode is not None:
            self.sh(["chmod", f"{mode:o}", str(path)])

    def put_program(self, source, path):
        """A program of one C file, compiled for its kind of processor, with all it needs in it."""
        from . import image
        self.put(image.compiled(source, "-static", arch=self._status()["arch"]), path, 0o755)

    def get(self, path, local):
        pathlib.Path(local).write_bytes(self.read(path))

    def install(self, *packages, timeout=300):
        """dpkg -i of packages that lie on the host."""
        names = []
        for package in packages:
            names.append(f"/var/tmp/{pathlib.Path(package).name}")
            self.put(package, names[-1])
        return self.sh("DEBIAN_FRONTEND=noninteractive dpkg -i " + shlex.join(names), timeout=timeout)

    def reboot(self, clean=False, wait=True, timeout=240):
        """Resets the guest, or has systemd reboot it; returns when that began."""
        boots = self._status()["boots"]
        if clean:
            t = time.monotonic()
            self.sh("systemctl reboot --no-block", check=False)
        else:
            t = self.lab.request("reset", guest=self.name)
        self.lab.request("wait_boot", guest=self.name, after=boots, timeout=timeout)
        if wait:
            self.wait_ready(timeout)
        return t

    def shut_down(self, timeout=240):
        """Through systemd; returns the seconds until it was off."""
        t = time.monotonic()
        self.sh("systemctl poweroff --no-block", check=False)
        wait_until(lambda: not self.is_on(), timeout, f"{self.name} to be off", interval=0.1)
        return time.monotonic() - t

    def power_off(self):
        """Power loss, this very moment."""
        return self.lab.request("kill", guest=self.name)

    def power_on(self, wait=True, timeout=240):
        t = self.lab.request("start", guest=self.name)
        if wait:
            self.wait_ready(timeout)
        return t

    def suspend(self, timeout=240):
        """Suspends it to memory, as systemd does when somebody closes the lid; returns when it was asleep."""
        self.spawn("exec systemctl start suspend.target")
        return self.lab.request("wait_asleep", guest=self.name, timeout=timeout)

    def wake(self):
        """Returns when that began."""
        return self.lab.request("wake", guest=self.name)

    def pause(self):
        """The hypervisor stops it where it is, its clock too; returns when."""
        return self.lab.request("pause", guest=self.name)

    def go_on(self):
        """It goes on where it was paused, and does not know; returns when."""
        return self.lab.request("go_on", guest=self.name)

    def bring_round(self):
        """Neither asleep nor paused, whatever it was."""
        self.lab.request("bring_round", guest=self.name)

    def has_slept(self):
        """Since it was booted. QEMU's firmware does not set the chipset up again when a machine wakes: what is written to sleep or to switch off has no effect from
        then on. A second sleep returns at once, and `poweroff` ends in "Attempted to kill init" (seen without anything of ours in the machine, too)."""
        return self._status()["has_slept"]

    def wait_ready(self, timeout=240):
        """Until sshd, D-Bus and udev run; returns the seconds since power or reset."""
        return self.lab.request("wait_ready", guests=[self.name], timeout=timeout)[self.name]

    def wait_boot_finished(self, timeout=240):
        """Until no unit is being started any more; returns systemd's word for it."""
        return str(self.sh("systemctl is-system-running --wait", check=False, timeout=timeout))

    @property
    def address(self):
        return self._status()["address"]

    def is_on(self):
        return self._status()["state"] != "off"

    def boot_id(self):
        return self._status()["boot_id"]

    def qemu_pid(self):
        """Of the process that is this machine; None while it is off."""
        return self._status()["pid"]

    def _status(self):
        return next(g for g in self.lab.status()["guests"] if g["name"] == self.name)

    def console(self, lines=200):
        return self.lab.request("console", guest=self.name, lines=lines)

    def last_words(self, lines=30):
        """The end of dmesg and of the journal, or of the console."""
        try:
            return str(self.sh(f"echo '== dmesg'; dmesg | tail -n {lines}; echo '== journal'; "
                               f"journalctl -b --no-pager -o short-monotonic | tail -n {lines}",
                               check=False, timeout=20))
        except LabError as e:
            return f"{e}\n== console\n{self.console(lines)}"


class Running:
    """A command under way in a guest; its output gathers here."""

    def __init__(self, guest, command, on_output=None):
        self.guest, self.command, self._on_output = guest, command, on_output or (lambda data: None)
        self.out, self.err, self.code = bytearray(), bytearray(), None
        self._connection = Connection(guest.lab.dir)
        self._connection.request("exec", guest=guest.name, argv=["sh", "-c", command])
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def _gather(self):
        try:
            while True:
                kind, data = self._connection.read_frame()
                if kind == agent_link.STDOUT:
                    self.out += data
                    self._on_output(data)
                elif kind == agent_link.STDERR:
                    self.err += data
                else:
                    self.code = int.from_bytes(data, "little", signed=True) if kind == agent_link.EXIT else -1
                    return
        except (LabError, OSError):
            self.code = -1
        finally:
            self._on_output(b"")

    def write(self, data):
        self._connection.send_frame(agent_link.STDIN, data)

    def end_input(self):
        self._connection.send_frame(agent_link.STDIN_EOF)

    def kill(self, number=9):
        self._connection.send_frame(agent_link.KILL, number.to_bytes(4, "little"))

    def wait(self, timeout=60):
        """Its exit code."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise CommandTimeout(f"{self.guest.name}: `{self.command}` still runs after {timeout} s")
        return self.code

    def is_running(self):
        return self._thread.is_alive()


class Events:
    """A guest's uevents with the host's monotonic time of arrival (t).

    kind is "kernel" (the moment the kernel told) or "udev" (rules done, links
    made). Every property is a key, in lower case: action, subsystem, devtype,
    devpath, devname, driver, id_serial ... and name, the last part of devname or
    devpath. Values may have * and ?.
    """

    def __init__(self, lab, name):
        self._lab, self._name = lab, name

    def wait(self, since=0.0, timeout=30, kind="kernel", **match):
        event = self._lab.request("wait_event", match={"guest": self._name, "kind": kind, **match},
                                  since=since, timeout=timeout)
        if event is None:
            seen = [f"{e['kind']} {e.get('action')} {e.get('subsystem')} {e.get('devpath')}" for e in self.find(since)]
            raise AssertionError(f"{self._name}: no event {kind} {match} in {timeout} s. Since then came:\n  "
                                 + "\n  ".join(seen[-40:]) + "\n" + self._lab.guest(self._name).last_words())
        return event

    def find(self, since=0.0, **match):
        """All such events so far."""
        return self._lab.request("events", match={"guest": self._name, **match}, since=since)


class Device:
    """Something plugged into a Pi."""

    def __init__(self, lab, state):
        self.lab, self.guest = lab, lab.guest(state["guest"])
        self.socket, self.kind, self.t = state["socket"], state["kind"], state["t"]
        self.options, self._is_super = state["options"], state["is_super"]
        self.wire = SerialWire(state["wire"]) if state["wire"] else None

    @property
    def busid(self):
        return self.lab.busid(self.socket, is_super=self._is_super, guest=self.guest.name)

    @property
    def sysfs(self):
        return f"/sys/bus/usb/devices/{self.busid}"

    def wait_event(self, action="bind", since=None, timeout=30, **match):
        """An event of this very usb_device (or, with devtype=, subsystem=, of what hangs on it)."""
        match = {"devtype": "usb_device", **match}
        pattern = f"*/{self.busid}" if match.get("devtype") == "usb_device" else f"*/{self.busid}/*"
        return self.guest.events.wait(since=self.t if since is None else since, timeout=timeout,
                                      action=action, devpath=pattern, **match)

    def wait_tty(self, since=None, timeout=30):
        """Until it is a tty on the Pi itself; returns its name (ttyUSB0)."""
        return self.guest.events.wait(since=self.t if since is None else since, timeout=timeout, kind="udev",
                                      action="add", subsystem="tty", devpath=f"*/{self.busid}/*")["name"]

    def reenumerate(self):
        self.t = self.lab.request("reenumerate", socket=self.socket, guest=self.guest.name)
        return self.t

    def unplug(self):
        """Returns when it was pulled, on the host's clock."""
        if self.wire:
            self.wire.close()
        return self.lab.request("unplug", socket=self.socket, guest=self.guest.name)

    def plug_again(self, socket=None):
        """The same device, in the same socket or in another."""
        return self.lab.plug(self.kind, socket or self.socket, guest=self.guest.name, **self.options)


class Wire:
    """The network between the guests."""

    def __init__(self, lab):
        self._lab = lab

    def cut(self, *guests, only=None):
        """Cuts all, or these guests' cables; only="from" or "to": one direction."""
        return self._lab.request("cut", guests=list(guests) or None, only=only)

    def heal(self):
        """Whole again, and fast."""
        return self._lab.request("heal")

    def delay(self, ms, loss=0):
        """Each way takes ms; loss in percent."""
        return self._lab.request("delay", ms=ms, loss=loss)


class Lab:
    def __init__(self, state_dir=None):
        self.dir = pathlib.Path(state_dir or default_dir())
        self.wire = Wire(self)
        self._guests = {}
        self._buses = {}
        self._wires = {}  # (guest, socket) -> the one that listens there
        self._supervisor = None  # when this process has started it

    @property
    def pi(self):
        return self.guest("pi")

    @property
    def vm(self):
        return self.guest("vm")

    def guest(self, name):
        return self._guests.setdefault(name, Guest(self, name))

    def guests(self):
        return [self.guest(g["name"]) for g in self.status()["guests"]]

    def request(self, verb, **arguments):
        return request(self.dir, verb, **arguments)

    def is_up(self):
        try:
            self.status()
        except LabError:
            return False
        return True

    def status(self):
        return self.request("status")

    def up(self, fresh=False, wait=True, timeout=1500, kinds=None):
        """Starts the lab, or joins the one that runs; fresh: never an old one. kinds: what
        a guest is ({"pi": {"suite": "trixie", "arch": "arm64"}}); what is not said is bookworm and amd64, or as it runs."""
        if fresh and self.dir.exists():
            self.down()
        if not self.is_up():
            self._start(timeout, kinds or {})
        for guest in self.status()["guests"]:
            wanted = (kinds or {}).get(guest["name"], {})
            if any(guest[what] != value for what, value in wanted.items()):
                raise LabError(f"the lab in {self.dir} runs with {guest['name']} as Debian {guest['suite']} on {guest['arch']}. "
                               "`lab up --fresh` starts another.")
        if wait:
            self.request("wait_ready", timeout=timeout)
        return self

    def _start(self, timeout, kinds):
        from . import image
        from .supervisor import disk_dir_of
        guests = topology.guests_of(kinds)
        subprocess.run([HERE / "setup", *sorted({g.arch for g in guests})], check=True)
        for spec in guests:
            image.ensure_image(spec.suite, spec.arch)
        self.down()  # what a lab that was killed has left
        disk_dir_of(self.dir).mkdir(parents=True, exist_ok=True)
        self.dir.mkdir(parents=True, mode=0o700)
        with open(self.dir / "supervisor.log", "ab") as log:
            child = self._supervisor = subprocess.Popen(["/usr/bin/python3", "-m", "usbpush_lab.supervisor", self.dir, json.dumps(kinds)], cwd=HERE,
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        limit = time.monotonic() + timeout
        shown = 0
        while not self.is_up():
            log = self.dir / "supervisor.log"
            text = log.read_text(errors="replace") if log.exists() else "(its log has gone)"
            if child.poll() is not None or time.monotonic() > limit:
                child.kill()
                child.wait()
                raise LabError(f"the lab does not start in {self.dir}: its supervisor "
                               f"{'has ended' if child.returncode != -9 else f'is not done after {timeout} s'}:\n{text[-3000:]}")
            print(text[shown:], end="", file=sys.stderr, flush=True)
            shown = len(text)
            time.sleep(0.02)

    def down(self, timeout=20):
        """Ends everything this lab has started, also after a crash, and removes its state."""
        import shutil
        from .supervisor import disk_dir_of
        try:
            self.request("down")
            limit = time.monotonic() + timeout
            while process.noted_processes(self.dir) and time.monotonic() < limit:
                time.sleep(0.02)
        except LabError:
            pass
        process.end_noted_processes(self.dir)
        if self._supervisor:
            self._supervisor.wait()
            self._supervisor = None
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(disk_dir_of(self.dir), ignore_errors=True)

    def plug(self, kind, socket=None, guest="pi", **options):
        """Plugs a device in: ft232, acm, keyboard, disk, hub, net, audio.

        socket: "A1" (a free one if not given). Options: serial=, and for acm also
        vid=, pid=, manufacturer=, product=. Returns a Device. The wire of an ft232 is
        listened to from now on; that of an acm, whose other end is a tty, when first used.
        """
        options.pop("port_num", None)
        self._close_wires(guest, socket)
        device = Device(self, self.request("plug", kind=kind, socket=socket, guest=guest, **options))
        self._wires[guest, device.socket] = device.wire
        if kind == "ft232" and device.guest.is_on():
            device.wire.open()
        return device

    def _close_wires(self, guest, socket=None):
        """One that is left open would listen to the next device in that socket, too."""
        for at in [at for at in self._wires if at[0] == guest and socket in (None, at[1])]:
            if wire := self._wires.pop(at):
                wire.close()

    def sound_file(self, guest="pi"):
        """The WAV file of what a guest's sound device played since it was last started."""
        return pathlib.Path(self.dir) / f"{guest}.wav"

    def disk_file(self, socket, guest="pi"):
        """The file of this machine that a disk in that socket stands on: 16 MB, or what the caller wrote to it before the plug."""
        from .supervisor import disk_dir_of
        return disk_dir_of(self.dir) / f"usb-{guest}-{socket}.raw"

    def devices(self):
        return [Device(self, d) for d in self.status()["devices"]]

    def unplug_all(self, guest="pi"):
        self._close_wires(guest)
        return self.request("unplug", socket="all", guest=guest)

    def buses(self, guest="pi"):
        boot = self.guest(guest).boot_id()
        if self._buses.get(guest, (None,))[0] != boot:
            rows = self.request("buses", guest=guest)
            self._buses[guest] = boot, {(letter, is_super): number for letter, is_super, number in rows}
        return self._buses[guest][1]

    def busid(self, socket, is_super=False, guest="pi"):
        return topology.busid_of_socket(self.buses(guest), socket, is_super)

    def socket(self, busid, guest="pi"):
        return topology.socket_of_busid(self.buses(guest), busid)

    def wait_until(self, predicate, timeout=30, what=None, interval=0.05):
        return wait_until(predicate, timeout, what, interval, lab=self)

    def last_words(self, lines=30):
        return "".join(f"\n==== {g.name}\n{g.last_words(lines)}" for g in self.guests())
