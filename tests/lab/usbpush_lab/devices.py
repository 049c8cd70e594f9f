"""What is plugged into the Pis, by socket: QEMU's own USB devices over QMP."""
import asyncio
import dataclasses
import time

from . import gadgets, topology
from .qmp import QmpError

KINDS = {
    "ft232": "FTDI FT232 serial adapter (0403:6001); its wire is a unix socket on the host",
    "acm": "CDC-ACM board (303a:1001), by dummy_hcd: sockets G1..G4; its wire ends in the Pi's /dev/ttyGS*",
    "keyboard": "USB keyboard",
    "disk": "USB disk of 16 MB",
    "hub": "USB hub with 8 ports: sockets A3.1 .. A3.8 for one in A3",
    "net": "USB network adapter (CDC Ethernet and RNDIS)",
    "audio": "USB audio device",
}


class DeviceError(Exception):
    pass


@dataclasses.dataclass
class Plugged:
    guest: str
    socket: str
    kind: str
    options: dict
    t: float = 0.0  # host's monotonic time of the last plug
    wire: str | None = None
    boot_id: str | None = None  # of the boot that made a gadget
    removed: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @property
    def id(self):
        return f"dev-{self.socket}"

    def as_json(self):
        return {"guest": self.guest, "socket": self.socket, "kind": self.kind, "t": self.t, "wire": self.wire,
                "options": self.options, "is_super": self.kind == "disk" and "." not in self.socket}


class Devices:
    def __init__(self, lab):
        self._lab = lab
        self.plugged = {}  # (guest, socket) -> Plugged
        self._turn = asyncio.Lock()

    def wire_path(self, guest, socket):
        return self._lab.dir / "wires" / (socket if guest == "pi" else f"{guest}-{socket}")

    def free_socket(self, guest, kind):
        candidates = topology.GADGET_SOCKETS if kind == "acm" else [
            f"{letter}{n}" for letter in topology.CONTROLLERS for n in range(1, topology.PORTS + 1)]
        for socket in candidates:
            if (guest, socket) not in self.plugged:
                return socket
        raise DeviceError(f"{guest}: no free USB socket for a {kind}. `lab unplug SOCKET` makes one.")

    def at(self, guest, socket):
        device = self.plugged.get((guest, socket.upper()))
        if device is None:
            there = ", ".join(sorted(s for g, s in self.plugged if g == guest)) or "none"
            raise DeviceError(f"{socket}: nothing is plugged in there. Plugged in on {guest}: {there}.")
        return device

    async def plug(self, guest, kind, socket=None, **options):
        if kind not in KINDS:
            raise DeviceError(f"{kind}: no such kind of device. There are {', '.join(KINDS)}.")
        async with self._turn:
            socket = (socket or self.free_socket(guest, kind)).upper()
            letter, ports = topology.parse_socket(socket)
            if (letter == "G") != (kind == "acm"):
                raise DeviceError(f"{socket}: a {kind} can't go there: an acm goes into G1..G4, all else into A1..D{topology.PORTS}.")
            if (guest, socket) in self.plugged:
                raise DeviceError(f"{socket}: a {self.plugged[guest, socket].kind} is plugged in there already.")
            parent = socket.rpartition(".")[0]
            if parent and self.plugged.get((guest, parent), Plugged("", "", "", {})).kind != "hub":
                raise DeviceError(f"{socket}: there is no hub in {parent}. `lab plug hub {parent}` first.")
            device = Plugged(guest, socket, kind, options)
            await self._insert(device)
            self.plugged[guest, socket] = device
            return device

    async def _insert(self, device):
        machine = self._lab.machine(device.guest)
        if not machine.is_on:
            return  # it is there when the power comes
        if device.kind == "acm":
            device.wire = str(self.wire_path(device.guest, device.socket))
            device.t = await gadgets.plug(machine, device)
            device.boot_id = machine.agent.boot_id
            await self._lab.gadget_wires.open(device)
            return
        letter, ports = topology.parse_socket(device.socket)
        where = {"id": device.id, "bus": f"xhci{letter}.0", "port": ports}
        try:
            arguments = await getattr(self, f"_make_{device.kind}")(machine, device)
            device.t = time.monotonic()
            await machine.qmp.command("device_add", **where, **arguments)
        except QmpError as e:
            await self._drop_backends(device)
            raise DeviceError(f"{device.socket}: QEMU refuses the {device.kind}: {e}") from e

    async def _make_ft232(self, machine, device):
        path = self.wire_path(device.guest, device.socket)
        path.unlink(missing_ok=True)
        address = {"type": "unix", "data": {"path": str(path)}}
        await machine.qmp.command("chardev-add", id=f"wire-{device.socket}", backend={
            "type": "socket", "data": {"addr": address, "server": True, "wait": False}})
        device.wire = str(path)
        arguments = {"driver": "usb-serial", "chardev": f"wire-{device.socket}", "always-plugged": True}
        if device.options.get("serial") is not None:
            arguments["serial"] = device.options["serial"]
        return arguments

    async def _make_disk(self, machine, device):
        path = self._lab.disk_dir / f"usb-{device.guest}-{device.socket}.raw"
        if not path.exists():
            with open(path, "wb") as f:
                f.truncate(16 << 20)
        await machine.qmp.command("blockdev-add", **{
            "driver": "raw", "node-name": f"usb-{device.socket}", "file": {"driver": "file", "filename": str(path)}})
        arguments = {"driver": "usb-storage", "drive": f"usb-{device.socket}"}
        if device.options.get("serial") is not None:
            arguments["serial"] = device.options["serial"]
        return arguments

    async def _make_hub(self, machine, device):
        return {"driver": "usb-hub"}

    async def _make_keyboard(self, machine, device):
        return {"driver": "usb-kbd"}

    async def _make_net(self, machine, device):
        return {"driver": "usb-net"}

    async def _make_audio(self, machine, device):
        return {"driver": "usb-audio", "audiodev": "sound"}

    async def unplug(self, guest, socket):
        """Returns when it was pulled, on the host's clock."""
        async with self._turn:
            device = self.at(guest, socket)
            machine = self._lab.machine(guest)
            if not machine.is_on:
                self._forget(device)
                return time.monotonic()
            if device.kind == "acm":
                t = await gadgets.unplug(machine, device, self._lab.gadget_wires)
                self._forget(device)
                return t
            t = await machine.remove_device(device.id)
            async with asyncio.timeout(10):
                await device.removed.wait()
            await self._drop_backends(device)
            return t

    async def reenumerate(self, guest, socket):
        device = self.at(guest, socket)
        if device.kind == "acm":
            await self._lab.machine(guest).wait_ready(240)
            await self.insert_gadgets(guest)  # one that went with the last boot is put back first
            device.t = await gadgets.reenumerate(self._lab.machine(guest), device)
            return device.t
        raise DeviceError(f"{socket}: only an acm (G1..G4) can be re-enumerated; a {device.kind} can be unplugged and plugged.")

    def take_removed(self, guest, device_id):
        """QEMU says that a device is gone, with its hub perhaps."""
        device = self.plugged.get((guest, device_id.removeprefix("dev-")))
        if device:
            self._forget(device)
            if "." in device.socket:
                asyncio.get_running_loop().create_task(self._drop_backends(device))

    def _forget(self, device):
        self.plugged.pop((device.guest, device.socket), None)
        device.removed.set()

    async def _drop_backends(self, device):
        qmp = self._lab.machine(device.guest).qmp
        try:
            if device.kind == "ft232":
                await qmp.command("chardev-remove", id=f"wire-{device.socket}")
            elif device.kind == "disk":
                await qmp.command("blockdev-del", **{"node-name": f"usb-{device.socket}"})
        except QmpError:
            pass  # never made, or dropped before

    async def insert_all(self, guest):
        """A guest gets power: what is in its sockets is there from the first moment."""
        for device in [d for d in self.plugged.values() if d.guest == guest and d.kind != "acm"]:
            await self._insert(device)

    async def insert_gadgets(self, guest):
        """After each boot of the Pi: its gadgets are its own kernel's, and went with the last boot."""
        boot_id = self._lab.machine(guest).agent.boot_id
        async with self._turn:
            for device in [d for d in self.plugged.values() if d.guest == guest and d.kind == "acm"]:
                if device.boot_id != boot_id:
                    await self._insert(device)
