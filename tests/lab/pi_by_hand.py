"""A Pi that is not the exporter: whoever has the Pi's key speaks to the handler by hand."""
import contextlib
import json
import shlex
import time

from usbpush_lab import wait_until

SSH = ["ssh", "-i", "/var/lib/usbpush/id_ed25519", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
       "-o", "LogLevel=ERROR", "usbpush@vm"]

FT232 = {"vid": 0x0403, "pid": 0x6001, "bcd": 0x0400, "serial": "FT123", "manufacturer": "QEMU", "product": "QEMU USB SERIAL"}


def time_logins(product):
    """How long OpenSSH's client takes from the Pi to the VM, in and out, three times."""
    times = []
    for _ in range(3):
        t = time.monotonic()
        product.pi.sh(shlex.join(SSH), check=False)
        times.append(time.monotonic() - t)
    return times


def line(**fields):
    return json.dumps(fields).encode() + b"\n"


def hello(**changes):
    return line(**{"type": "hello", "protocol": 1, "software": "by hand", "role": "pi", "id": "0" * 32, "name": "pi", "boot_id": "1" * 32,
                   "patience_ms": 8000, **changes})


def sync(*offers):
    return line(type="sync", seq=1, offers=[{"id": offer, "streaming": False} for offer in offers])


def connect(offer, busid="1-1", devnum=2, speed=12, identity=FT232, **changes):
    bus = int(busid.split("-")[0]) if busid[0].isdigit() else 1
    return line(type="connect", offer={"id": offer, "busid": busid, "devid": bus << 16 | devnum, "speed": speed, "name": "", **identity, **changes})


# Gives a device of this Pi to usbip-host, whatever it is, and its stream to the VM under an offer's id; then says "streaming" and
# stays. ssh has one half of the socketpair, the kernel gets the other.
STREAM = r"""
import os, socket, subprocess, sys
busid, offer, ssh = sys.argv[1], sys.argv[2], sys.argv[3:]
def put(path, text):
    fd = os.open("/sys/bus/usb/" + path, os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)
put("drivers/usb/unbind", busid)
put("drivers/usbip-host/match_busid", "add " + busid)
put("drivers/usbip-host/bind", busid)
near, far = socket.socketpair()
child = subprocess.Popen(ssh, stdin=far, stdout=far)
far.close()
near.sendall(b'{"type":"stream","offer":"%s"}\n' % offer.encode())
answer = b""
while not answer.endswith(b"\n"):
    byte = near.recv(1)
    if not byte:
        sys.exit("no answer: %r" % answer)
    answer += byte
if answer != b"OK\n":
    sys.exit(answer.decode())
os.set_inheritable(near.fileno(), True)
put("devices/%s/usbip_sockfd" % busid, str(near.fileno()))
near.close()
print("streaming", flush=True)
child.wait()
"""

# The session has ended: the device goes back to the driver of the Pi.
GIVE_BACK = """
cd /sys/bus/usb
while [ "$(cat devices/{0}/usbip_status)" = 2 ]; do sleep 0.1; done
echo {0} > drivers/usbip-host/unbind
echo -n 'del {0}' > drivers/usbip-host/match_busid
echo {0} > drivers_probe
"""


class Channel:
    """A channel that stays open; answers gather."""

    def __init__(self, pi, *lines):
        self._program = pi.spawn(shlex.join(SSH))
        self._program.write(b"".join(lines))

    def send(self, *lines):
        self._program.write(b"".join(lines))

    def answers(self):
        return [json.loads(text) for text in self._program.out.decode().splitlines()]

    def wait_answer(self, timeout=60, **fields):
        """The first answer with these fields."""
        return wait_until(lambda: next((a for a in self.answers() if fields.items() <= a.items()), None), timeout, f"an answer with {fields}")

    def end(self):
        if self._program.is_running():
            self._program.kill()
            self._program.wait(30)


class PiByHand:
    def __init__(self, product):
        self.product, self.pi, self.vm = product, product.pi, product.vm
        self._channels = []

    def say(self, *lines, timeout=60):
        """Opens a channel, sends this, and returns all answers until the channel ends."""
        result = self.pi.sh(shlex.join(SSH), stdin=b"".join(lines), check=False, timeout=timeout)
        return [json.loads(text) for text in result.splitlines()]

    def ask_stream(self, offer):
        """The answer to a stream of that offer; the Pi's side stays open meanwhile."""
        program = self.pi.spawn(shlex.join(SSH))
        program.write(line(type="stream", offer=offer))
        program.wait(60)
        return program.out.decode()

    def open(self, *lines):
        self._channels.append(Channel(self.pi, *lines))
        return self._channels[-1]

    @contextlib.contextmanager
    def streaming(self, busid, offer):
        """Streams a device of the Pi to the VM under that offer's id; in the end the Pi's own driver has it again."""
        self.pi.write("/run/stream.py", STREAM)
        program = self.pi.spawn("exec " + shlex.join(["python3", "/run/stream.py", busid, offer, *SSH]))
        try:
            wait_until(lambda: program.out or not program.is_running(), 60, "the stream to begin")
            assert bytes(program.out) == b"streaming\n", program.err.decode()
            yield
        finally:
            self.pi.sh("pkill -f '^python3 /run/stream.py'", check=False)
            program.wait(30)
            self.pi.sh(GIVE_BACK.format(busid))

    def end(self):
        for channel in self._channels:
            channel.end()
