"""What is left to somebody who has taken over one of our programs: each unit's sandbox, tried from inside, while everything works."""
import pathlib
import re

import pytest

PROBE = "/usr/libexec/usbpush/sandbox-probe"
UNIT = "usbpush-sandbox-probe"
OUTPUT = f"/run/{UNIT}.txt"

UNITS = {
    "pi": ["usbpush-exporter", "usbpush-mdns", "usbpush-portal"],
    "vm": ["usbpush-boot-attach", "usbpush-handler", "usbpush-mdns", "usbpush-unpair"],
}
# What reads nothing that anybody wrote: systemctl alone, two fixed commands to systemd.
ONLY_SYSTEMCTL = {"pi": [], "vm": ["usbpush-sleep"]}
EACH_UNIT = [(side, unit) for side, units in UNITS.items() for unit in units]

REFUSALS = {"EACCES", "EPERM", "EROFS", "EAFNOSUPPORT", "ENOENT"}  # ENOENT: it is hidden; outside it is there

# Of a unit, what says how its program is started and watched, not in what it is shut up.
OTHER_SETTINGS = ("ExecStart", "ExecReload", "Type", "NotifyAccess", "Restart", "RestartSec", "WatchdogSec", "RemainAfterExit", "TimeoutStartSec")

NO_UNIT_MAY = """
    create:/etc create:/etc/systemd/system create:/etc/cron.d create:/etc/ssh create:/usr/bin create:/usr/libexec/usbpush create:/usr/lib/udev/rules.d
    create:/boot create:/root create:/home create:/var/log create:/var/lib/dpkg create:/run/systemd/system create:/run/udev create:/run
    modify:/etc/passwd modify:/proc/sys/kernel/core_pattern modify:/proc/sysrq-trigger modify:/sys/power/state
    read:/etc/ssh/ssh_host_ed25519_key read:/etc/shadow
    socket:packet socket:raw socket:vsock
    exec:/bin/sh exec:/usr/bin/env exec:/sbin/modprobe exec:/usr/bin/python3
    plant:/tmp plant:/dev/shm
    mount unshare chroot trace bpf perf module reboot clock host-name memory
""".split()

# Root's units: what counts for others is that they are root.
NO_ROOTS_UNIT_MAY = "connect:/run/dbus/system_bus_socket connect:/run/systemd/private signal:{other} signal-to-thread:{other}".split()

# Beyond that, of each unit: what it may not, and, so that it is a sandbox and no coffin, what it may.
MAY_NOT = {
    "usbpush-exporter": "create:/var/lib/usbpush-portal modify:/dev/vda read:/dev/vda plant:/run/usbpush plant:/var/lib/usbpush",
    "usbpush-portal": "create:/etc/usbpush create:/var/lib/usbpush create:/run/usbpush read:/var/lib/usbpush/id_ed25519 socket:netlink"
                      " modify:/sys/bus/usb/drivers_probe plant:/var/lib/usbpush-portal",
    "usbpush-mdns": "create:/etc/usbpush create:/var/lib/usbpush create:/run/usbpush socket:inet6",
    "usbpush-handler": "create:/etc/usbpush create:/var/lib/usbpush create:/var/lib/usbpush/.ssh modify:/dev/vda read:/dev/vda"
                       " plant:/run/usbpush plant:/var/lib/usbpush-handler",
    "usbpush-boot-attach": "create:/etc/usbpush create:/var/lib/usbpush create:/var/lib/usbpush-handler create:/run/usbpush socket:netlink modify:/sys/bus/usb/drivers_probe",
    "usbpush-unpair": "create:/var/lib socket:inet socket:inet6 socket:netlink modify:/sys/bus/usb/drivers_probe plant:/var/lib/usbpush",
}
MAY = {
    "usbpush-exporter": "create:/etc/usbpush create:/var/lib/usbpush create:/run/usbpush modify:/sys/bus/usb/drivers_probe"
                        " socket:inet socket:inet6 socket:unix socket:netlink",
    "usbpush-portal": "create:/var/lib/usbpush-portal socket:inet socket:inet6 socket:unix connect:/run/usbpush/control.sock",
    "usbpush-mdns": "socket:unix socket:netlink connect:/run/dbus/system_bus_socket",
    # inet: it fetches what a Pi offers on the direct road.
    "usbpush-handler": "create:/run/usbpush create:/var/lib/usbpush-handler modify:/sys/devices/platform/vhci_hcd.0/attach socket:unix socket:netlink socket:inet socket:inet6",
    # inet: the knock.
    "usbpush-boot-attach": "socket:inet socket:inet6 socket:unix connect:/run/usbpush/handler.sock",
    "usbpush-unpair": "create:/etc/usbpush create:/var/lib/usbpush create:/var/lib/usbpush/.ssh socket:unix connect:/run/usbpush/handler.sock",
}


@pytest.fixture(scope="module")
def probes(paired_lab):
    for guest in (paired_lab.pi, paired_lab.vm):
        guest.put_program(pathlib.Path(__file__).parent / "sandbox_probe.c", PROBE)
        guest.sh("mkdir -p /etc/cron.d")  # a Debian 13 without cron has none
    yield
    for guest in (paired_lab.pi, paired_lab.vm):
        guest.sh(f"rm -f {PROBE} {OUTPUT} /run/systemd/system/{UNIT}.service; systemctl daemon-reload")


@pytest.fixture
def attached(product, probes):
    """With a device at work, so that no sandbox is tighter than its program can bear."""
    product.wait_attached(product.lab.plug("ft232", "A1", serial="SANDBOX"))
    return product


def settings_of(guest, unit):
    """The [Service] lines of the unit as it is installed, without those that start its program."""
    section, lines = None, []
    for line in guest.sh(f"cat /lib/systemd/system/{unit}.service").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line.split("=")[0] not in OTHER_SETTINGS:
            lines.append(line)
    return lines


def results_of(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines())


def try_inside(guest, unit, attempts):
    """{attempt: result}, of the probe in place of the unit's program."""
    guest.write(f"/run/systemd/system/{UNIT}.service", "\n".join([
        "[Service]", f"BindReadOnlyPaths={PROBE}", *settings_of(guest, unit), "Type=oneshot", f"ExecStart={PROBE} {' '.join(attempts)}",
        f"StandardOutput=truncate:{OUTPUT}", ""]))
    guest.sh(f"systemctl daemon-reload && systemctl start {UNIT}")
    return results_of(guest.sh(f"cat {OUTPUT}"))


def try_outside(guest, attempts):
    return results_of(guest.sh([PROBE, *attempts]))


def is_root(guest, unit):
    return not any(line.startswith("User=") for line in settings_of(guest, unit))


def refused_attempts(guest, unit):
    names = NO_UNIT_MAY + MAY_NOT[unit].split() + ["user-namespace"]  # last: where it is allowed, the probe is nobody from then on
    if is_root(guest, unit):
        names = NO_ROOTS_UNIT_MAY + names
    return [name.format(other=guest.sh("systemctl show -P MainPID systemd-journald")) for name in dict.fromkeys(names)]


@pytest.mark.parametrize("side", UNITS)
def test_every_unit_is_tried(product, side):
    units = product.lab.guest(side).sh("cd /lib/systemd/system && ls usbpush-*.service").split()
    assert {unit.removesuffix(".service") for unit in units} == {*UNITS[side], *ONLY_SYSTEMCTL[side]}


@pytest.mark.parametrize("side, unit", [*EACH_UNIT, *((side, unit) for side, units in ONLY_SYSTEMCTL.items() for unit in units)])
def test_a_units_exposure_is_at_most_two(product, side, unit):
    said = product.lab.guest(side).sh(f"systemd-analyze security --no-pager {unit}.service")
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", said)[1])
    print(f"{side}: {unit}: {exposure}")
    assert exposure <= 2.0, said


@pytest.mark.parametrize("side, unit", EACH_UNIT)
def test_who_takes_over_a_unit_gets_no_further(attached, side, unit):
    """Each attempt is refused inside, and not outside, where root without a sandbox makes it: so it is the sandbox that refuses."""
    guest = attached.lab.guest(side)
    attempts = refused_attempts(guest, unit)
    inside, outside = try_inside(guest, unit, attempts), try_outside(guest, attempts)
    assert list(inside) == attempts and list(outside) == attempts
    assert {a: r for a, r in inside.items() if r not in REFUSALS} == {}
    assert {a: r for a, r in outside.items() if r in REFUSALS} == {}


@pytest.mark.parametrize("side, unit", EACH_UNIT)
def test_what_a_unit_needs_it_may(attached, side, unit):
    attempts = MAY[unit].split()
    assert try_inside(attached.lab.guest(side), unit, attempts) == {attempt: "done" for attempt in attempts}


@pytest.mark.parametrize("side, unit", [("pi", "usbpush-exporter"), ("pi", "usbpush-portal"), ("vm", "usbpush-handler"), ("vm", "usbpush-mdns")])
def test_the_daemon_that_runs_has_no_capability(product, side, unit):
    """Of the process itself, not of a unit like its own."""
    guest = product.lab.guest(side)
    status = dict(line.split(":", 1) for line in guest.read(f"/proc/{product.pid(guest, unit)}/status").decode().splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
