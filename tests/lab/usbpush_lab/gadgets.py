"""CDC-ACM boards: dummy_hcd and configfs in the Pi guest, and their wires."""
import asyncio
import contextlib
import os
import shlex
import struct
import time

from . import agent_link, topology

DEFAULTS = {"vid": "303a", "pid": "1001", "manufacturer": "Espressif", "product": "USB JTAG/serial debug unit"}
CONFIGFS = "/sys/kernel/config"
TREE = f"{CONFIGFS}/usb_gadget"


class GadgetError(Exception):
    pass


def udc_of(device):
    return f"dummy_udc.{topology.GADGET_SOCKETS[device.socket]}"


def put_text(path, text):
    """A shell command that writes these very bytes; no newline is added."""
    octal = "".join(f"\\{b:03o}" for b in os.fsencode(text))
    return f"printf {shlex.quote(octal)} > {path}"


def plug_script(device):
    o = {**DEFAULTS, "serial": f"lab-{device.socket}", **{k: v for k, v in device.options.items() if v is not None}}
    texts = [put_text(f"strings/0x409/{file}", o[key]) for file, key in
             (("manufacturer", "manufacturer"), ("product", "product"), ("serialnumber", "serial")) if o[key] != ""]
    return "\n".join([
        "set -e", "modprobe -a libcomposite dummy_hcd usb_f_acm",
        f"grep -q ' {CONFIGFS} ' /proc/mounts || mount -t configfs configfs {CONFIGFS}",  # a machine that boots may not have come to that
        f"mkdir -p {TREE}/{device.socket}", f"cd {TREE}/{device.socket}",
        f"echo 0x{o['vid']} > idVendor", f"echo 0x{o['pid']} > idProduct",
        "echo 0x0101 > bcdDevice", "echo 0x0200 > bcdUSB",
        "echo 0xef > bDeviceClass", "echo 2 > bDeviceSubClass", "echo 1 > bDeviceProtocol",
        "mkdir -p strings/0x409", *texts,
        "mkdir -p configs/c.1 functions/acm.usb0",
        "[ -e configs/c.1/acm.usb0 ] || ln -s functions/acm.usb0 configs/c.1/",
        "cut -d' ' -f1 /proc/uptime",
        f"echo {udc_of(device)} > UDC",
        "cat functions/acm.usb0/port_num"])


def pull_script(device):
    return f"cd {TREE}/{device.socket} || exit 0\necho > UDC"


def remove_script(device):
    """Only when nobody holds /dev/ttyGS*: the kernel waits for that in rmdir."""
    return "\n".join([
        f"cd {TREE}/{device.socket} || exit 0", "rm -f configs/c.1/acm.usb0",
        "rmdir configs/c.1 functions/acm.usb0 strings/0x409", "cd ..", f"rmdir {device.socket}"])


async def run(machine, script, timeout=60):
    """Runs a shell script in the guest; returns its output."""
    stream = await machine.agent.open(["sh", "-c", script])
    stream.send(agent_link.STDIN_EOF)
    out = bytearray()
    async with asyncio.timeout(timeout):
        while True:
            kind, data = await stream.frames.get()
            if kind in (agent_link.STDOUT, agent_link.STDERR):
                out += data
            elif kind == agent_link.ERROR:
                raise GadgetError(f"{machine.name}: {data.decode()}")
            elif kind == agent_link.EXIT:
                code, = struct.unpack("<i", data)
                text = out.decode(errors="replace")
                if code:
                    raise GadgetError(f"{machine.name}: the gadget script ended with {code}: {text}")
                return text


async def plug(machine, device):
    t = time.monotonic()
    text = await run(machine, plug_script(device))
    device.options["port_num"] = int(text.split()[-1])
    return t


async def unplug(machine, device, wires):
    """Off the bus first, so that the wire's end in the Pi has nothing left to wait for."""
    t = time.monotonic()
    await run(machine, pull_script(device))
    await wires.close(device)
    await run(machine, remove_script(device))
    return t


async def reenumerate(machine, device):
    t = time.monotonic()
    await run(machine, f"cd {TREE}/{device.socket} && echo > UDC && echo {udc_of(device)} > UDC")
    return t


class GadgetWires:
    """A unix socket for each gadget, whose other end is /dev/ttyGS* in the Pi."""

    def __init__(self, lab):
        self._lab = lab
        self._servers = {}
        self._bridges = {}  # (guest, socket) -> tasks

    async def open(self, device):
        await self.close(device)
        bridges = self._bridges.setdefault((device.guest, device.socket), set())

        async def serve(reader, writer):
            task = asyncio.current_task()
            bridges.add(task)
            try:
                await bridge(self._lab.machine(device.guest), device, reader, writer)
            except (asyncio.CancelledError, ConnectionError):
                pass
            finally:
                bridges.discard(task)
                writer.close()

        self._servers[device.guest, device.socket] = await asyncio.start_unix_server(serve, device.wire)

    async def close(self, device):
        """Returns when nothing of ours holds the gadget's tty any more."""
        server = self._servers.pop((device.guest, device.socket), None)
        if server:
            server.close()
        for task in list(self._bridges.pop((device.guest, device.socket), ())):
            task.cancel()
            await asyncio.wait([task])
        if device.wire and os.path.exists(device.wire):
            os.unlink(device.wire)


async def bridge(machine, device, reader, writer):
    tty = f"/dev/ttyGS{device.options['port_num']}"
    try:
        stream = await machine.agent.open(["socat", "-b", "32768", "-", f"{tty},rawer"])
    except agent_link.AgentError:
        return
    outward = asyncio.create_task(pass_outward(stream, writer))
    inward = asyncio.create_task(pass_inward(stream, reader))
    try:
        await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        inward.cancel()
        stream.kill(9)
        await asyncio.wait([outward], timeout=30)
        outward.cancel()


async def pass_outward(stream, writer):
    """Until socat has ended, also when nobody listens any more."""
    while True:
        kind, data = await stream.frames.get()
        if kind in (agent_link.EXIT, agent_link.ERROR):
            return
        if kind == agent_link.STDOUT and not writer.is_closing():
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()


async def pass_inward(stream, reader):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(agent_link.CHUNK):
            await stream.write(data)
