"""The ways a device can be used: on the Pi itself, by the stock tools, and by us. Each is opened once and then has devices attached to it."""
import contextlib

from usbpush_lab import wait_until
from usbpush_lab.floor import without_us

ACCEPT, RULES = "/etc/usbpush/accept.conf", "/etc/usbpush/devices.conf"
NODES = {"ft232": "/dev/ttyUSB*", "disk": "/dev/sd?"}
TUNNEL_PORT = 3241  # of ssh -L, on the VM


class Road:
    """A way to a device's node. open(): what it needs for as long as it is measured; attach(): a device that is plugged in now."""

    def __init__(self, product):
        self.product, self.lab = product, product.lab
        self.pi, self.vm = product.pi, product.vm
        self.guest = product.vm

    @contextlib.contextmanager
    def attached(self, kind):
        """A device of that kind, its only one, plugged in and attached: the device and its node on self.guest."""
        device = self.lab.plug(kind, "A1", serial="BENCH")
        try:
            self.attach(device)
            yield device, self.wait_node(kind)
        finally:
            self.detach(device)
            device.unplug()
            wait_until(lambda: not self.nodes(kind), 60, f"{self.name}: the node to be gone", lab=self.lab)

    def nodes(self, kind):
        return self.guest.sh(f"ls {NODES[kind]} 2>/dev/null || true").split()

    def wait_node(self, kind):
        (node,) = wait_until(lambda: self.nodes(kind), 60, f"{self.name}: the node of the {kind}", lab=self.lab)
        self.guest.sh("udevadm settle")
        return node

    def attach(self, device):
        pass

    def detach(self, device):
        pass


class Local(Road):
    """On the Pi, by its own driver."""
    name = "local, on the Pi"

    def __init__(self, product):
        super().__init__(product)
        self.guest = product.pi

    @contextlib.contextmanager
    def open(self):
        with without_us(self.lab):
            yield self


class Stock(Road):
    """usbipd and usbip, as the kernel's tools have them."""
    name = "stock usbip"
    remote = "-r pi"

    @contextlib.contextmanager
    def open(self):
        with without_us(self.lab), self.running("pi", "exec usbipd -4", 3240):
            yield self

    @contextlib.contextmanager
    def running(self, guest, command, port):
        """A program of that guest, which listens on port."""
        guest = self.lab.guest(guest)
        program = guest.spawn(command)
        try:
            wait_until(lambda: guest.sh(f"ss -Htln sport = :{port}"), 30, f"{command} to listen", lab=self.lab)
            yield
        finally:
            program.kill()
            program.wait()

    def attach(self, device):
        device.wait_event("bind")
        self.pi.sh("udevadm settle")
        self.pi.sh(f"usbip bind -b {device.busid}")
        self.vm.sh(f"usbip {self.remote.replace('-r', 'attach -r')} -b {device.busid}")

    def detach(self, device):
        self.vm.sh("for p in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); do usbip detach -p $p; done", check=False)
        wait_until(lambda: not self.product.used_ports(), 60, "the port to be free", lab=self.lab)
        self.pi.sh(f"usbip unbind -b {device.busid}", check=False)


class StockThroughSsh(Stock):
    """The same through `ssh -L`, as people do it who want no open port."""
    name = "stock usbip through ssh -L"
    remote = f"--tcp-port {TUNNEL_PORT} -r 127.0.0.1"

    @contextlib.contextmanager
    def open(self):
        self.vm.sh("mkdir -p -m 700 /root/.ssh; [ -e /root/.ssh/bench ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/bench")
        key = self.vm.sh("cat /root/.ssh/bench.pub")
        self.pi.sh("mkdir -p -m 700 /root/.ssh; cat > /root/.ssh/authorized_keys", stdin=(key + "\n").encode())
        forward = (f"exec ssh -N -i /root/.ssh/bench -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
                   f"-L {TUNNEL_PORT}:127.0.0.1:3240 root@pi")
        try:
            with super().open(), self.running("vm", forward, TUNNEL_PORT):
                yield self
        finally:
            self.pi.sh("rm -f /root/.ssh/authorized_keys")


class Ours(Road):
    """usbpush, paired and up."""
    lines = ()

    @contextlib.contextmanager
    def open(self):
        self.product.configure(*self.lines)
        self.vm.write(ACCEPT, "accept class=storage\n")
        self.pi.write(RULES, "share class=storage\n")
        try:
            self.product.wait_link("UP")
            yield self
        finally:
            self.product.configure()
            self.vm.sh(f"rm -f {ACCEPT}")
            self.pi.sh(f"rm -f {RULES}")

    def attach(self, device):
        self.product.wait_device(device, "ATTACHED", timeout=90)


class Tunnel(Ours):
    name = "usbpush, tunnel"


class Direct(Ours):
    name = "usbpush, direct"
    lines = ("TRANSPORT=direct",)


REMOTE = (Stock, Direct, Tunnel, StockThroughSsh)
ALL = (Local, *REMOTE)
