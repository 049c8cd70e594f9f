"""Which guests a lab has, where they are on the wire, and what their USB sockets are called.

Socket A3 is port 3 of the Pi's first USB controller, A3.1 the first port of a
hub in it; G1..G4 are the ports of dummy_hcd, where gadgets are plugged in.
"""
import dataclasses
import re

CONTROLLERS = "ABCD"
PORTS = 15
PCI_SLOT = {letter: 0x10 + i for i, letter in enumerate(CONTROLLERS)}
GADGET_SOCKETS = {f"G{i + 1}": i for i in range(4)}


@dataclasses.dataclass(frozen=True)
class GuestSpec:
    name: str
    role: str  # "pi" has USB controllers, "vm" has none
    number: int
    suite: str = "bookworm"
    arch: str = "amd64"
    memory_mb: int = 512
    cpus: int = 1

    @property
    def address(self):
        return f"10.77.0.{self.number}"

    @property
    def mac(self):
        return f"52:54:00:77:00:{self.number:02x}"


DEFAULT_GUESTS = (GuestSpec("pi", "pi", 1), GuestSpec("vm", "vm", 2))


def guests_of(kinds):
    """The two, each as kinds ({"pi": {"suite": "trixie", "arch": "arm64"}}) says."""
    return tuple(dataclasses.replace(g, **kinds.get(g.name, {})) for g in DEFAULT_GUESTS)


class SocketError(ValueError):
    """No such USB socket."""


def parse_socket(text):
    """("A", "3.1") for A3.1, ("G", "1") for G1."""
    text = text.upper()
    if text in GADGET_SOCKETS:
        return "G", text[1:]
    found = re.fullmatch(r"([A-D])([0-9]+)((?:\.[1-8])*)", text)
    if not found or not 1 <= int(found[2]) <= PORTS:
        raise SocketError(f"{text}: no such USB socket. There are A1..A{PORTS} to D1..D{PORTS}, "
                          "A3.1 for a hub's first port, and G1..G4 for gadgets.")
    return found[1], found[2] + found[3]


def socket_of_devpath(devpath):
    """The socket a sysfs path of a USB device lies in, or None."""
    found = re.search(r"/0000:00:([0-9a-f]{2})\.0/usb\d+/(?:.*/)?\d+-([0-9.]+)(?:$|/|:)", devpath)
    if found:
        for letter, slot in PCI_SLOT.items():
            if slot == int(found[1], 16):
                ports = re.findall(r"/\d+-([0-9.]+)(?=/|$)", devpath)
                return letter + (ports[-1] if ports else found[2])
    found = re.search(r"/dummy_hcd\.(\d)/usb\d+/\d+-1(?:$|/)", devpath)
    return f"G{int(found[1]) + 1}" if found else None


# What a guest's sysfs says about its buses: one line each, "PARENT BUSNUM SPEED".
LIST_BUSES = ("for d in /sys/bus/usb/devices/usb*; do p=$(readlink -f $d); p=${p%/*}; "
              "echo ${p##*/} $(cat $d/busnum $d/speed); done")


def parse_buses(text):
    """{(letter or gadget socket, is_super_speed): bus number} from LIST_BUSES' output."""
    buses = {}
    for line in text.splitlines():
        parent, busnum, speed = line.split()
        is_super = int(speed) >= 5000
        if parent.startswith("dummy_hcd."):
            buses[f"G{int(parent[10:]) + 1}", is_super] = int(busnum)
        for letter, slot in PCI_SLOT.items():
            if parent == f"0000:00:{slot:02x}.0":
                buses[letter, is_super] = int(busnum)
    return buses


def busid_of_socket(buses, socket, is_super=False):
    letter, ports = parse_socket(socket)
    if letter == "G":
        return f"{buses['G' + ports, is_super]}-1"
    return f"{buses[letter, is_super]}-{ports}"


def socket_of_busid(buses, busid):
    busnum, _, ports = busid.partition("-")
    for (letter, _), number in buses.items():
        if str(number) == busnum:
            return letter if letter.startswith("G") else letter + ports
    return None
