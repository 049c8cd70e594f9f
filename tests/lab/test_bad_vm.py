"""A VM that was taken over: what answers the Pi there is not usbpush-relay, but says what it likes."""
import shlex

import pytest

from usbpush_lab import wait_until

KEYS = "/var/lib/usbpush/.ssh/authorized_keys"
RELAY = "/usr/libexec/usbpush/usbpush-relay"
IMPOSTOR = "/usr/local/bin/impostor"

HELLO = ('{"type":"hello","protocol":1,"software":"by hand","role":"vm","id":"00","name":"vm","boot_id":"11",'
         '"patience_ms":8000,"ports":240}')

# Greets, takes the sync and answers it; for streams it is silent.
GREET = f"""
read -r first
case "$first" in *stream*|*spare*) exec sleep 1000 ;; esac
echo {shlex.quote(HELLO)}
read -r sync
seq=${{sync#*\\"seq\\":}}; seq=${{seq%%[!0-9]*}}
echo "{{\\"type\\":\\"synced\\",\\"seq\\":$seq,\\"keep\\":[]}}"
"""

# The real relay for the control channel.
HONEST_CONTROL = f"""
read -r first
case "$first" in *stream*|*spare*) ;; *) (echo "$first"; exec cat) | exec {RELAY} --pi "$1" ;; esac
"""


class Impostor:
    """On the VM, in place of the forced command: a shell script that gets the Pi's id."""

    def __init__(self, product):
        self.product, self.pi, self.vm = product, product.pi, product.vm
        self.device = product.lab.plug("ft232", "A1", serial="LOYAL")
        product.wait_attached(self.device)
        self.vm.sh(f"cp -p {KEYS} /root/keys")
        self.vm.sh(f"sed -i 's|{RELAY} --pi|{IMPOSTOR}|' {KEYS}; grep -q {IMPOSTOR} {KEYS}")
        self.memory_before = self.memory()

    def play(self, script):
        """From now on, on a new connection, the VM does this. The Pi is asked to make one without waiting for its next try."""
        self.vm.write(IMPOSTOR, f"#!/bin/sh\n{script}\n")
        self._attempts = wait_until(self.product.link, 30, "an answer of the exporter", lab=self.product.lab)["attempts"]
        self.vm.sh(f"chmod 755 {IMPOSTOR}; pkill -u usbpush -x sshd", check=False)
        self.pi.sh("usbpush attach --all")

    def wait_link_error(self, code, text, timeout=60):
        """Until the link's trouble is this, of a try since the play began; its entry in the status."""
        def error():
            link = self.product.link()
            found = link.get("error") or {}
            is_theirs = link.get("attempts", 0) > self._attempts and found.get("code") == code and text in found["text"]
            # With another version, a person has something to do: that is where each try ends.
            return is_theirs and (code != "version" or link["state"] == "REFUSED") and link
        return wait_until(error, timeout, f"the link to be in trouble: {code}, {text!r}", interval=0.2, lab=self.product.lab)

    def process(self):
        return self.product.pid(self.pi, "usbpush-exporter")

    def memory(self):
        """The exporter's resident memory, in KiB."""
        return int(self.pi.sh(f"awk '/^VmRSS/ {{ print $2 }}' /proc/{self.process()}/status"))

    def cpu_seconds(self, span):
        """How much of this many seconds the exporter computes."""
        ticks = self.pi.sh(f"p=/proc/{self.process()}/stat; cut -d' ' -f14,15 $p; sleep {span}; cut -d' ' -f14,15 $p").split()
        before, after = sum(map(int, ticks[:2])), sum(map(int, ticks[2:]))
        return (after - before) / 100

    def assert_pi_unharmed(self):
        assert self.memory() - self.memory_before < 2048
        assert self.cpu_seconds(2) < 1.5
        entry = self.product.device(self.device.busid)
        assert entry["state"] != "ATTACHED", "the VM has no port for it"
        assert self.product.bound_busids() == [self.device.busid], "the device is held for the VM that may come back"

    def end(self):
        self.vm.sh(f"mv /root/keys {KEYS}; rm -f {IMPOSTOR}; pkill -u usbpush -x sshd", check=False)


@pytest.fixture(scope="class")
def impostor(paired_lab):
    paired_lab.lab.unplug_all()
    paired_lab.wait_link("UP")
    impostor = Impostor(paired_lab)
    yield impostor
    impostor.end()
    paired_lab.lab.unplug_all()


# What the VM does, and what the Pi says of it.
ACTS = {
    "garbage": ("printf '\\026\\003\\001 garbage\\n'; exec cat >/dev/null", "bad-request", "no JSON object"),
    "a NUL byte": ("printf '{\"type\":\\000}\\n'; exec cat >/dev/null", "bad-request", "NUL"),
    "an endless line": ("exec tr '\\000' x </dev/zero", "bad-request", "the VM sent"),
    "another version": (f"read -r first; echo {shlex.quote(HELLO.replace('1,', '99,', 1))}; exec cat >/dev/null", "version", "protocol 99"),
    "an end": ("exit 0", "stream", "ended the channel"),
    "a complaint": ("echo the disk is full >&2; exit 1", "stream", "the disk is full"),
    "a ping, as only a Pi may": (GREET + "echo '{\"type\":\"ping\",\"seq\":1}'; exec cat >/dev/null", "bad-request", "only a Pi may send"),
    "a stream, as only a Pi may": (GREET + "echo '{\"type\":\"stream\",\"offer\":\"a-1\"}'; exec cat >/dev/null", "bad-request",
                                   "only a Pi may send"),
    "nothing at all": ("exec cat >/dev/null", "timeout", "did not come up within 20 s"),
    "a greeting, and nothing more": (GREET + "exec cat >/dev/null", "timeout", "has said nothing for"),
}


class TestAVmInForeignHands:
    @pytest.mark.parametrize("name", ACTS)
    def test_is_left_with_the_reason_when_its_answer_is(self, impostor, name):
        script, code, text = ACTS[name]
        impostor.play(script)
        link = impostor.wait_link_error(code, text)
        assert link["state"] != "UP" and (link["state"] == "REFUSED") == (code == "version")
        if link["next_try_ms"]:
            assert link["error"]["text"] in impostor.pi.sh("usbpush events")
        impostor.assert_pi_unharmed()

    def test_can_not_tell_of_devices_that_were_never_offered(self, impostor):
        """`attached` for an id that nobody offered is passed over."""
        impostor.play(GREET + """
echo '{"type":"attached","id":"nobody-1","port":1,"busid":"1-1","nodes":["/dev/ttyUSB0"],"links":[],"steps_ms":{}}'
echo '{"type":"failed","id":"nobody-1","code":"internal","text":"no","cure":""}'
echo '{"type":"detached","id":"nobody-1","reason":"by hand"}'
exec cat >/dev/null""")
        impostor.product.wait_link("UP")
        impostor.product.wait_device(impostor.device, "OFFERED")
        impostor.wait_link_error("timeout", "has said nothing for")
        impostor.assert_pi_unharmed()

    def test_can_not_answer_a_stream_with_anything_but_ok_or_no(self, impostor):
        impostor.play(HONEST_CONTROL + "echo HUH; exec cat >/dev/null")
        entry = impostor.product.wait_failed(impostor.device, "bad-request")
        assert "OK or NO" in entry["error"]["text"]
        assert impostor.product.link()["state"] == "UP"
        impostor.assert_pi_unharmed()

    def test_has_the_device_again_when_it_is_itself_without_a_command_on_the_pi(self, impostor):
        impostor.end()
        impostor.product.wait_attached(impostor.device)
        assert impostor.product.device(impostor.device.busid)["state"] == "ATTACHED"
