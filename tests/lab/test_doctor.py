"""`doctor` on both machines: content with a healthy pair, and for each thing that is broken a finding with its cure."""
import base64
import io
import json
import tarfile
from typing import NamedTuple

import pytest

from conftest import put_right
from usbpush_lab import wait_until

COMMAND = {"pi": "usbpush doctor", "vm": "usbpush-vm doctor"}
CHECKS = {
    "pi": "kernel usbip disk clock exporter settings key mdns name network link direct devices portal firewall".split(),
    "vm": "kernel vhci disk clock handler login keys sshd relay unpair pis direct mdns firewall".split(),
}
# What can be said well of a pair on which a device is attached: the path from this machine to the other's daemon.
PATH = {
    "pi": {"exporter": "runs and answers", "network": "an sshd answers", "link": "usbpush-handler on vm answers", "devices": "1 of 1 on the VM"},
    "vm": {"handler": "runs and answers", "sshd": "takes the Pis' login as it should be", "relay": "its answer comes back",
           "pis": "pi is connected, with 1 devices"},
}
SECRETS = {
    "pi": "cat /var/lib/usbpush/id_ed25519 /etc/ssh/ssh_host_*_key; cat /var/lib/usbpush-portal/* 2>/dev/null; cat /run/usbpush/setup-code 2>/dev/null; true",
    "vm": "cat /etc/ssh/ssh_host_*_key; sed -n 's/^[^:]*:\\([^:]\\{8,\\}\\):.*/\\1/p' /etc/shadow",
}
VM_CONF = "/etc/usbpush/vm.conf"
SSHD_FIRST = "/etc/ssh/sshd_config.d/00-lab.conf"  # sorts before ours, and sshd takes the first value


class Breakage(NamedTuple):
    name: str
    side: str
    spoil: str
    mend: str
    check: str
    text: str
    cure: str


# What the check programs can't show: a real sshd's account of itself, units, modules' files. The other findings are tests/unit/test_*_doctor.c's.
BREAKAGES = [
    Breakage("usbpush-exporter", "pi", "systemctl stop usbpush-exporter", "systemctl start usbpush-exporter",
             "exporter", "usbpush-exporter is not running", "systemctl start usbpush-exporter"),
    Breakage("a port without sshd", "pi", f"echo VM_PORT=23 >>{VM_CONF}", f"sed -i /^VM_PORT=23$/d {VM_CONF}",
             "network", "port 23: Connection refused", "systemctl status ssh"),
    Breakage("drivers see devices at once", "vm", "echo 1 >/sys/devices/platform/vhci_hcd.0/usb1/authorized_default",
             "echo 0 >/sys/devices/platform/vhci_hcd.0/usb1/authorized_default",
             "vhci", "authorized_default is not 0", "systemctl restart usbpush-handler"),
    Breakage("nobody takes keys out", "vm", "systemctl disable --now usbpush-unpair.path", "systemctl enable --now usbpush-unpair.path",
             "unpair", "usbpush-unpair.path is not active", "systemctl enable --now usbpush-unpair.path"),
    Breakage("AllowUsers", "vm", f"echo 'AllowUsers root' >{SSHD_FIRST}", f"rm {SSHD_FIRST}",
             "sshd", "sshd's AllowUsers keeps the login usbpush out", "Add usbpush to AllowUsers"),
    Breakage("no Include", "vm", "sed -i 's/^Include/#Include/' /etc/ssh/sshd_config", "sed -i 's/^#Include/Include/' /etc/ssh/sshd_config",
             "sshd", "/etc/ssh/sshd_config has no Include", "at the top of /etc/ssh/sshd_config"),
    Breakage("an expired login", "vm", "chage -E 2020-01-01 usbpush", "chage -E -1 usbpush",
             "login", "the login usbpush has expired", "chage -E -1 usbpush"),
]


class Report:
    def __init__(self, guest):
        self.result = guest.sh(COMMAND[guest.name] + " --json", check=False, timeout=120)
        self.code, self.findings = self.result.code, json.loads(self.result)["findings"]
        self.is_ok = json.loads(self.result)["ok"]

    def of(self, check, state):
        return [f for f in self.findings if f["check"] == check and f["state"] == state]

    def wrong(self):
        return [f for f in self.findings if f["state"] == "wrong"]


def wait_healthy(product, road="tunnel"):
    """As each of these stories begins: the link is up, and the device attached by that road, as both sides say."""
    def is_healthy():
        there = [device for pi in product.vm_status().get("pis", []) for device in pi["devices"]]
        entry = product.device("1-1")
        return entry and entry["state"] == "ATTACHED" and [d["transport"] for d in there] == [road] and there[0]["state"] == "attached"

    product.wait_link("UP")
    wait_until(is_healthy, 90, f"the device to be attached by the {road} road", interval=0.2, lab=product.lab)


@pytest.fixture(scope="module")
def healthy(paired_lab):
    """The pair with a device attached, for all of these stories: doctor changes nothing."""
    put_right(paired_lab.lab)
    device = paired_lab.lab.plug("ft232", "A1", serial="DOCTOR")
    paired_lab.wait_attached(device)
    yield paired_lab
    put_right(paired_lab.lab)


@pytest.mark.parametrize("side", COMMAND)
def test_a_healthy_pair_is_told_so(healthy, side):
    report = Report(healthy.lab.guest(side))
    assert report.code == 0 and report.is_ok, report.wrong()
    assert list(dict.fromkeys(f["check"] for f in report.findings)) == CHECKS[side]
    for check, text in PATH[side].items():
        assert any(text in f["text"] for f in report.of(check, "ok")), (check, report.findings)


@pytest.mark.parametrize("side", COMMAND)
def test_who_is_not_root_is_told_what_it_takes_to_see_more(healthy, side):
    guest = healthy.lab.guest(side)
    result = guest.sh(f"runuser -u nobody -- {COMMAND[side]} --json", check=False, timeout=120)
    findings = json.loads(result)["findings"]
    assert result.code == 0, [f for f in findings if f["state"] == "wrong"]
    assert any(f["state"] == "skipped" and "sudo" in f["cure"] for f in findings)


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda b: f"{b.side}: {b.name}")
def test_what_is_broken_is_found_and_told_with_its_cure(healthy, breakage):
    guest = healthy.lab.guest(breakage.side)
    guest.sh(breakage.spoil)
    try:
        report = Report(guest)
    finally:
        guest.sh(breakage.mend)
        wait_healthy(healthy)
    found = [f for f in report.of(breakage.check, "wrong") if breakage.text in f["text"]]
    assert found, report.findings
    assert breakage.cure in found[0]["cure"]
    assert report.code == 1 and not report.is_ok


def test_the_direct_road_is_looked_at_from_both_sides(healthy):
    pi, vm = healthy.pi, healthy.vm
    pi.sh(f"echo TRANSPORT=direct >>{VM_CONF} && systemctl reload usbpush-exporter")
    try:
        wait_healthy(healthy, "direct")
        assert any("port 3240 is open" in f["text"] for f in Report(pi).of("direct", "ok"))
        assert any("pi gives devices out at 10.77.0.1 port 3240" in f["text"] for f in Report(vm).of("direct", "ok"))
        assert "on the direct road" in pi.sh("usbpush status") and "direct road: port 3240" in pi.sh("usbpush test")
        assert "(direct)" in vm.sh("usbpush-vm status")
        vm.sh("ip route add blackhole 10.77.0.1/32 proto static table 77 && ip rule add to 10.77.0.1 dport 3240 table 77")
        try:
            found, = Report(vm).of("direct", "wrong")
            assert "10.77.0.1 port 3240 can't be reached" in found["text"] and "usbpush doctor" in found["cure"]
        finally:
            vm.sh("ip rule del to 10.77.0.1 dport 3240 table 77; ip route flush table 77")
    finally:
        pi.sh(f"sed -i /^TRANSPORT=direct$/d {VM_CONF} && systemctl reload usbpush-exporter")
        wait_healthy(healthy)


def secrets_of(guest):
    """Every line of a private key and every password's hash, as they are written in their files."""
    lines = guest.sh(SECRETS[guest.name]).splitlines()
    return {line for line in lines if len(line) >= 8 and not line.startswith("-----")}


def seeds_of(guest):
    """The secret part of ed25519 keys, however it might have been written down."""
    raw = base64.b64decode("".join(line for line in guest.sh("cat /etc/ssh/ssh_host_ed25519_key").splitlines() if not line.startswith("-")))
    seed = raw[raw.rindex(b"\0\0\0\x40") + 4:][:32]
    return {seed.hex(), base64.b64encode(seed).decode().rstrip("=")[:-1]}


@pytest.mark.parametrize("side", COMMAND)
def test_the_archive_has_what_helps_and_no_secret(healthy, side):
    guest, path = healthy.lab.guest(side), "/root/doctor.tar"
    guest.sh(f"rm -f {path}; {COMMAND[side]} --archive {path}", timeout=180)
    try:
        assert guest.sh(f"stat -c '%a %U' {path}") == "600 root"
        with tarfile.open(fileobj=io.BytesIO(guest.read(path))) as archive:
            parts = {m.name.removeprefix("usbpush-doctor/"): archive.extractfile(m).read().decode(errors="replace") for m in archive if m.isfile()}
    finally:
        guest.sh(f"rm -f {path}")
    assert json.loads(parts["doctor.json"])["ok"] is True and json.loads(parts["status.json"])
    assert "usbpush" in parts["log"] and "Linux version" in parts["kernel"] + parts["kernel-log"]
    text = "\n".join(parts.values())
    secrets = secrets_of(guest) | seeds_of(guest)
    assert secrets
    assert [secret for secret in secrets if secret in text] == []
    assert "PRIVATE KEY" not in text


@pytest.mark.parametrize("side", COMMAND)
def test_an_archive_never_takes_the_place_of_a_file(healthy, side):
    guest = healthy.lab.guest(side)
    guest.write("/tmp/mine", "mine")
    refused = guest.sh(f"{COMMAND[side]} --archive /tmp/mine", check=False, timeout=120)
    assert refused.code == 1 and "is there already" in refused.err and guest.read("/tmp/mine") == b"mine"
