"""A Pi that was taken over: it has the key, and says to the VM what it likes."""
import pytest

from pi_by_hand import FT232, PiByHand, connect, hello, line, sync
from usbpush_lab import wait_until


class Handler:
    """The handler on the VM as an onlooker sees it."""

    def __init__(self, product):
        self._product, self._vm = product, product.vm
        self.memory_before = self.memory()
        self.mark()

    def memory(self):
        """Its resident memory, in KiB."""
        pid = self._product.pid(self._vm, "usbpush-handler")
        return int(self._vm.sh(f"awk '/^VmRSS/ {{ print $2 }}' /proc/{pid}/status"))

    def mark(self):
        """What the journal says from here on is of interest."""
        self._n_lines = int(self._vm.sh("journalctl --sync; journalctl -u usbpush-handler -o cat | wc -l"))

    def journal(self):
        return self._vm.sh(f"journalctl -u usbpush-handler -o cat | tail -n +{self._n_lines + 1}")

    def wait_journal(self, *words):
        """Until it says all of that. (journald writes a line when it comes to it.)"""
        wait_until(lambda: all(w in text for text in [self.journal()] for w in words), 60, f"the journal to say {words}", lab=self._product.lab)

    def assert_unharmed(self):
        assert self._product.used_ports() == {}
        assert self.memory() - self.memory_before < 2048


class Stage:
    def __init__(self, product):
        self.product, self.pi, self.vm = product, product.pi, product.vm
        product.pi.sh("systemctl stop usbpush-exporter")
        self.by_hand = PiByHand(product)
        self.by_hand.say(hello(), sync())
        self.handler = Handler(product)

    def end(self):
        self.by_hand.end()
        self.pi.sh("systemctl start usbpush-exporter")


@pytest.fixture(scope="class")
def stage(paired_lab):
    paired_lab.lab.unplug_all()
    paired_lab.wait_link("UP")
    paired_lab.wait_nothing_attached()
    stage = Stage(paired_lab)
    yield stage
    stage.end()


A_LIVE_OFFER = connect("live-1", busid="1-1", devnum=2)

# What is sent, and what the refusal must say.
CONTROL = {
    "garbage": (b"\x16\x03\x01\xfa garbage\n", "no JSON object"),
    "an endless first line": (b"x" * 1_000_000, "too long"),
    "an endless line later": (hello() + sync() + b"x" * 1_000_000, "too long"),
    "a NUL byte": (b'{"type":"hello"}\0\n', "no text"),
    "a NUL byte later": (hello() + sync() + b'{"type":"ping","seq":\0}\n', "no text"),
    "JSON that is no object": (b"[1, 2]\n", "no JSON object"),
    "an object without a type": (hello() + sync() + b'{"tope":"ping"}\n', "without a type"),
    "another version": (hello(protocol=99), "version 99"),
    "a first line that is no greeting": (sync(), "neither hello"),
    "a bus id with a path before it": (hello() + sync() + connect("a-1", busid="../1-1"), "bus id"),
    "a bus id with a path behind it": (hello() + sync() + connect("a-1", busid="1-1/.."), "bus id"),
    "an id with a path in it": (hello() + sync() + connect("../a"), "id of letters, digits"),
    "the devid of another live offer": (hello() + sync() + A_LIVE_OFFER + connect("a-2", busid="1-2", devnum=2), "live-1"),
    "a devid that is not the bus id's": (hello() + sync() + connect("a-1", busid="1-1", devid=5 << 16 | 2), "can't be that of bus id 1-1"),
    "an id twice for different devices": (hello() + sync() + A_LIVE_OFFER + connect("live-1", busid="1-3", devnum=9), "live-1"),
    "an id twice with another identity": (hello() + sync() + A_LIVE_OFFER + connect("live-1", identity={**FT232, "serial": "X"}), "live-1"),
    "10,000 offers": (hello() + sync() + b"".join(connect(f"m-{i}", busid=f"{i // 100 + 1}-{i % 100 + 1}", devnum=i % 100 + 2)
                                                   for i in range(10_000)), "more than 256 offers"),
    "a message that only a VM may send": (hello() + sync() + line(type="attached", id="a-1", port=1, busid="1-1", nodes=[], links=[],
                                                                 steps_ms={}),
                                          "has no place here"),
    "a list of 1,000 offers": (hello() + sync(*[f"m-{i}" for i in range(1000)]), "at most 256"),
}


class TestAPiInForeignHands:
    @pytest.mark.parametrize("name", CONTROL)
    def test_is_refused_with_the_reason_when_it_sends(self, stage, name):
        sent, why = CONTROL[name]
        stage.handler.mark()
        *_, last = stage.by_hand.say(sent)
        assert last["type"] == "refused" and why in last["text"]
        stage.handler.wait_journal("pi: ", why)
        stage.handler.assert_unharmed()

    def test_gets_no_stream_without_an_offer(self, stage):
        stage.handler.mark()
        answer = stage.by_hand.ask_stream("nobody-1")
        assert answer.startswith("NO ") and "no offer nobody-1" in answer
        stage.handler.wait_journal("nobody-1")
        stage.handler.assert_unharmed()

    def test_is_told_that_a_message_is_unknown_and_may_go_on(self, stage):
        answers = stage.by_hand.say(hello(), sync(), line(type="sing", loud=True), line(type="ping", seq=7, color="red"))
        assert [a["type"] for a in answers] == ["hello", "synced", "unknown", "pong"]
        assert answers[2]["of"] == "sing"

    def test_can_not_pass_a_keyboard_off_as_a_serial_adapter(self, stage):
        self.push_keyboard(stage, identity=FT232, code="identity", why="the vendor id is 0627, offered was 0403")

    def test_can_not_push_a_keyboard_openly(self, stage):
        self.push_keyboard(stage, identity=None, code="not-accepted", why="keyboard")

    @staticmethod
    def push_keyboard(stage, identity, code, why):
        """A real keyboard, exported by a real usbip-host; what matters is that no driver on the VM ever saw it."""
        keyboard = stage.product.lab.plug("keyboard", "A1")
        keyboard.wait_event("bind")
        stage.handler.mark()
        speed, devnum = (int(stage.pi.sh(f"cat {keyboard.sysfs}/{name}")) for name in ("speed", "devnum"))
        offer = connect("evil-1", busid=keyboard.busid, devnum=devnum, speed=speed, identity=identity or honest_identity(stage, keyboard))
        control = stage.by_hand.open(hello(), sync(), offer)
        with stage.by_hand.streaming(keyboard.busid, "evil-1"):
            failed = control.wait_answer(type="failed", id="evil-1")
            assert failed["code"] == code and why in failed["text"]
            stage.handler.wait_journal(why)
            wait_until(lambda: stage.product.used_ports() == {}, 30, "the port to be free")
        control.end()
        keyboard.unplug()
        seen = stage.vm.events.find(keyboard.t, kind="kernel", action="add")
        assert [e for e in seen if e.get("devtype") == "usb_device"], "the VM's kernel did read the real device"
        assert not [e for e in seen if e["subsystem"] in ("input", "hid", "hidraw") or e.get("devtype") == "usb_interface"]
        stage.handler.assert_unharmed()


def honest_identity(stage, device):
    texts = stage.product.identity(stage.pi, device.busid)
    return {"vid": int(texts["idVendor"], 16), "pid": int(texts["idProduct"], 16),
            "bcd": int(stage.pi.sh(f"cat {device.sysfs}/bcdDevice"), 16), "serial": str(texts["serial"]),
            "manufacturer": str(texts["manufacturer"]), "product": str(texts["product"])}


def test_a_good_pi_works_right_after(product):
    product.wait_attached(product.lab.plug("ft232", "A1", serial="GOOD"))
