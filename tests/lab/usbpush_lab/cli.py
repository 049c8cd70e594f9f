"""The command `lab`."""
import argparse
import json
import os
import pathlib
import sys
import time

from .connection import Connection, LabError
from .image import ARCHS, SUITES, ImageError
from .devices import KINDS
from .lab import Lab
from .terminal import run_interactive, run_piped, talk_on_wire
from .topology import DEFAULT_GUESTS

HELP = """\
Two real machines under QEMU: `pi` has USB sockets, `vm` has none; a cable between them.

  lab up                        image (once, a minute), both machines, until they can be used
  lab up --pi trixie            the Pi as Debian 13; machines are Debian 12 unless told otherwise
  lab up --pi-arch arm64        the Pi with a processor as a Raspberry Pi has; machines are amd64
  lab sh pi                     a root shell; `lab sh vm uname -r` runs a command
  lab install PI_DEB VM_DEB     dpkg -i of our two packages, each in its machine
  lab plug ft232 A1 --serial X  a serial adapter in socket A1 of the Pi
  lab wire A1                   the world behind that adapter: type, and it arrives on the tty
  lab unplug A1                 (or: all)
  lab cut | heal | delay 50 --loss 2        the cable between the machines
  lab reboot vm                 reset button; --clean: through systemd
  lab kill pi; lab start pi     power loss; power
  lab down                      all of it ends, nothing is left

Sockets: A1..A15 B1.. C1.. D1.. are the ports of the Pi's four controllers, A3.1 the first
port of a hub in A3, G1..G4 those for acm gadgets. The same socket has always the same bus id.
Kinds of device:
""" + "".join(f"  {kind:9} {text}\n" for kind, text in KINDS.items()) + """
USBPUSH_LAB_DIR (/run/usbpush-lab) says which lab is meant; several can run side by side."""


def make_parser():
    parser = argparse.ArgumentParser(prog="lab", description=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name, text, *arguments):
        p = verbs.add_parser(name, help=text, description=text)
        for words, options in arguments:
            p.add_argument(*words, **options)
        return p

    guest = (["guest"], {"metavar": "GUEST", "help": "pi or vm"})
    on = (["--on"], {"default": "pi", "metavar": "PI", "help": "which Pi (pi)"})
    verb("up", "start the lab, or join the one that runs, and wait until it can be used",
         (["--fresh"], {"action": "store_true", "help": "end the one that runs first; new disks"}),
         *[([f"--{g.name}"], {"choices": list(SUITES), "metavar": "SUITE", "help": f"the Debian of {g.name}: {', '.join(SUITES)}"})
           for g in DEFAULT_GUESTS],
         *[([f"--{g.name}-arch"], {"choices": list(ARCHS), "metavar": "ARCH", "help": f"the processor of {g.name}: {', '.join(ARCHS)}"})
           for g in DEFAULT_GUESTS])
    verb("down", "end the lab and remove its disks")
    verb("status", "the machines, the cable, and what is plugged in", (["--json"], {"action": "store_true"}))
    verb("sh", "a root shell in a machine, or a command there", guest,
         (["--timeout"], {"type": float, "metavar": "S"}),
         (["command"], {"nargs": argparse.REMAINDER, "metavar": "COMMAND"}))
    verb("plug", "plug a device in", (["kind"], {"choices": list(KINDS), "metavar": "KIND", "help": ", ".join(KINDS)}),
         (["socket"], {"nargs": "?", "metavar": "SOCKET"}), (["--serial"], {}), (["--vid"], {}), (["--pid"], {}),
         (["--manufacturer"], {}), (["--product"], {}), on)
    verb("unplug", "pull a device out", (["socket"], {"metavar": "SOCKET|all"}), on)
    verb("reenumerate", "an acm gadget leaves the bus and comes again", (["socket"], {"nargs": "?", "metavar": "SOCKET"}), on)
    verb("cut", "cut the cable between the machines",
         (["guests"], {"nargs": "*", "metavar": "GUEST", "help": "only this machine's cable"}),
         (["--only"], {"choices": ["from", "to"], "help": "one direction, seen from the machine"}))
    verb("heal", "mend the cable: whole, fast, lossless")
    verb("delay", "make the cable slow, or lossy", (["ms"], {"type": float, "metavar": "MS", "help": "each way"}),
         (["--loss"], {"type": float, "default": 0, "metavar": "PCT"}))
    verb("reboot", "press the reset button", (["guest"], {"metavar": "GUEST|both"}),
         (["--clean"], {"action": "store_true", "help": "systemctl reboot instead"}),
         (["--no-wait"], {"action": "store_true"}))
    verb("kill", "power loss", (["guest"], {"metavar": "GUEST|both"}))
    verb("start", "power on", (["guest"], {"metavar": "GUEST|both"}), (["--no-wait"], {"action": "store_true"}))
    verb("console", "what a machine has written to its serial console", guest,
         (["--lines"], {"type": int, "default": 200}))
    verb("wire", "the world behind a serial device: this terminal, or stdin and stdout",
         (["socket"], {"metavar": "SOCKET"}), on)
    verb("install", "dpkg -i PI_DEB on the Pi and VM_DEB on the VM",
         (["pi_deb"], {"metavar": "PI_DEB"}), (["vm_deb"], {"metavar": "VM_DEB"}))
    verb("put", "copy a file into a machine", guest, (["local"], {}), (["path"], {}))
    verb("get", "copy a file out of a machine", guest, (["path"], {}), (["local"], {}))
    verb("events", "all uevents of the machines as they come, on the host's clock",
         (["--udev"], {"action": "store_true", "help": "what udev has processed too"}))
    return parser


def guests_of(lab, word):
    return lab.guests() if word == "both" else [lab.guest(word)]


def run_up(lab, a):
    began = time.monotonic()
    said = {g.name: {"suite": getattr(a, g.name), "arch": getattr(a, f"{g.name}_arch")} for g in DEFAULT_GUESTS}
    lab.up(fresh=a.fresh, kinds={name: {what: value for what, value in kind.items() if value} for name, kind in said.items()})
    print(f"lab: up in {time.monotonic() - began:.1f} s ({lab.dir})")


def run_down(lab, a):
    lab.down()


def run_status(lab, a):
    status = lab.status()
    if a.json:
        print(json.dumps(status, indent=2))
        return
    for g in status["guests"]:
        w = status["wire"][g["name"]]
        cable = "whole" if w["from"] and w["to"] else "cut" if not w["from"] and not w["to"] else "half cut"
        extra = f", {w['delay'] / 1000:g} ms" * bool(w["delay"]) + f", {w['loss'] / 10000:g} % lost" * bool(w["loss"])
        since = f" for {g['for_s']:.0f} s" if g["state"] != "off" else ""
        print(f"{g['name']:4} {g['address']:11} {g['suite']:9} {g['arch']:6} {g['state'] + since:20} cable {cable}{extra}")
    for d in status["devices"]:
        print(f"{d['socket']:4} {d['kind']:9} {d['options'].get('serial') or '':20} {d['wire'] or ''}")


def run_sh(lab, a):
    command = a.command[1:] if a.command[:1] == ["--"] else a.command
    if command:
        argv = ["sh", "-c", command[0]] if len(command) == 1 else command
    else:
        argv = ["bash", "-l"]
    if os.isatty(0) and os.isatty(1) and a.timeout is None:
        return run_interactive(lab, a.guest, argv)
    return run_piped(lab, a.guest, argv, a.timeout, has_input=not os.isatty(0))


def run_plug(lab, a):
    options = {k: v for k in ("serial", "vid", "pid", "manufacturer", "product") if (v := getattr(a, k)) is not None}
    device = lab.plug(a.kind, a.socket, guest=a.on, **options)
    print(f"{device.kind} in {device.socket}: bus id {device.busid}" + (f", wire {device.wire.path}" if device.wire else ""))


def run_unplug(lab, a):
    lab.request("unplug", socket=a.socket, guest=a.on)


def run_reenumerate(lab, a):
    sockets = [a.socket] if a.socket else [d.socket for d in lab.devices() if d.kind == "acm"]
    if not sockets:
        raise LabError("no acm gadget is plugged in. `lab plug acm` plugs one.")
    for socket in sockets:
        lab.request("reenumerate", socket=socket, guest=a.on)


def run_cut(lab, a):
    lab.wire.cut(*a.guests, only=a.only)


def run_heal(lab, a):
    lab.wire.heal()


def run_delay(lab, a):
    lab.wire.delay(a.ms, a.loss)


def run_reboot(lab, a):
    for guest in guests_of(lab, a.guest):
        guest.reboot(clean=a.clean, wait=False)
    wait_ready(lab, a)


def run_kill(lab, a):
    for guest in guests_of(lab, a.guest):
        guest.power_off()


def run_start(lab, a):
    for guest in guests_of(lab, a.guest):
        guest.power_on(wait=False)
    wait_ready(lab, a)


def wait_ready(lab, a):
    if not a.no_wait:
        for guest in guests_of(lab, a.guest):
            print(f"{guest.name}: up after {guest.wait_ready():.1f} s")


def run_console(lab, a):
    print(lab.guest(a.guest).console(a.lines))


def run_wire(lab, a):
    for device in lab.devices():
        if device.socket == a.socket.upper() and device.guest.name == a.on and device.wire:
            return talk_on_wire(device.wire.path)
    raise LabError(f"{a.socket}: no serial device there. `lab status` shows what is plugged in.")


def run_install(lab, a):
    print(lab.pi.install(a.pi_deb))
    print(lab.vm.install(a.vm_deb))


def run_put(lab, a):
    lab.guest(a.guest).put(a.local, a.path, pathlib.Path(a.local).stat().st_mode & 0o777)


def run_get(lab, a):
    lab.guest(a.guest).get(a.path, a.local)


def run_events(lab, a):
    with Connection(lab.dir) as c:
        c.request("follow", match=None if a.udev else {"kind": "kernel"})
        while True:
            e = c.read_line()
            print(f"{e['t']:12.4f} {e['guest']:3} {e['kind']:6} {e.get('action', ''):8} {e.get('subsystem', ''):12} "
                  f"{e['name']:14} {e.get('devpath', '')}", flush=True)


def main(argv=None):
    a = make_parser().parse_args(argv)
    try:
        return globals()[f"run_{a.verb}"](Lab(), a) or 0
    except (LabError, ImageError, AssertionError, OSError) as e:
        print(e if str(e).startswith("lab: ") else f"lab: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
