"""What the lab promises to every other test, shown on the bare guests."""
import hashlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

from usbpush_lab import CommandFailed, CommandTimeout, Lab, LabError, wait_until
from usbpush_lab.process import noted_processes


@pytest.fixture
def ft232(clean_lab):
    device = clean_lab.plug("ft232", "A1", serial="LAB0001")
    device.wait_tty()
    clean_lab.pi.sh("stty -F /dev/ttyUSB0 115200 raw -echo")
    return device


def test_the_guests_know_their_names_and_each_other(lab):
    assert lab.pi.sh("hostname") == "pi"
    assert lab.vm.sh("hostname") == "vm"
    lab.pi.sh("ping -c 1 -W 5 vm")
    lab.vm.sh("ping -c 1 -W 5 pi")


def test_each_guest_has_its_own_host_key_and_machine_id(lab):
    for path in ("/etc/ssh/ssh_host_ed25519_key.pub", "/etc/machine-id"):
        assert lab.pi.read(path) != lab.vm.read(path)


def test_the_vm_has_no_usb_and_the_pi_has(lab):
    """None but what vhci_hcd makes of the network."""
    assert lab.vm.sh("realpath /sys/bus/usb/devices/usb* 2>/dev/null | grep -v /vhci_hcd || true") == ""
    assert "usb1" in lab.pi.sh("ls /sys/bus/usb/devices").split()


def test_a_command_gets_input_and_gives_output_errors_and_exit_code(lab):
    result = lab.pi.sh("cat; echo oops >&2; exit 7", check=False, stdin="in")
    assert (str(result), result.err, result.code) == ("in", "oops\n", 7)
    with pytest.raises(CommandFailed, match="ended with 7"):
        lab.pi.sh("exit 7")


def test_a_command_that_takes_too_long_is_killed_and_told(lab):
    with pytest.raises(CommandTimeout, match="timed out"):
        lab.vm.sh("echo begun; sleep 4711", timeout=2)
    wait_until(lambda: lab.vm.sh("pgrep -f 'sleep 471[1]'", check=False).code == 1, 10)


def test_commands_run_side_by_side(lab):
    slow = lab.pi.spawn("read line; echo got $line")
    assert lab.pi.sh("echo quick") == "quick"
    slow.write(b"it\n")
    assert slow.wait(20) == 0
    assert bytes(slow.out) == b"got it\n"


def test_files_of_some_size_come_and_go_whole(lab, tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "out").write_bytes(data)
    lab.vm.put(tmp_path / "out", "/var/tmp/there")
    lab.vm.get("/var/tmp/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


def test_a_plugged_ft232_is_a_tty_on_the_pi(ft232):
    pi = ft232.guest
    assert pi.sh("cat /sys/bus/usb/devices/1-1/serial") == "LAB0001"
    assert pi.exists("/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_LAB0001-if00-port0")


def test_bytes_pass_over_the_wire_both_ways(ft232):
    data = os.urandom(16384)
    reader = ft232.guest.spawn(f"timeout 60 head -c {len(data)} /dev/ttyUSB0 | sha256sum")
    ft232.guest.lab.wait_until(lambda: ft232.guest.sh("pgrep -x head", check=False).code == 0)
    ft232.wire.write(data)
    assert reader.wait(90) == 0
    assert reader.out.split()[0].decode() == hashlib.sha256(data).hexdigest()
    ft232.guest.sh("cat > /dev/ttyUSB0", stdin=data)
    assert ft232.wire.read(len(data)) == data


def test_events_are_on_the_hosts_clock(clean_lab):
    before = time.monotonic()
    device = clean_lab.plug("ft232", "A1")
    add = device.wait_event("add")
    tty = clean_lab.pi.events.wait(since=device.t, subsystem="tty", action="add", name="ttyUSB0")
    udev = clean_lab.pi.events.wait(since=device.t, kind="udev", subsystem="tty", action="add", name="ttyUSB0")
    assert before <= device.t < add["t"] < tty["t"] < udev["t"] <= time.monotonic()
    pulled = device.unplug()
    gone = clean_lab.pi.events.wait(since=pulled, subsystem="tty", action="remove", name="ttyUSB0")
    assert gone["t"] - pulled < 10


def test_the_same_socket_has_the_same_bus_id(clean_lab):
    for socket in ("A1", "B7", "D15"):
        device = clean_lab.plug("ft232", socket)
        name = device.wait_tty()
        assert f"/{device.busid}/" in clean_lab.pi.sh(f"readlink -f /sys/class/tty/{name}")
        assert clean_lab.socket(device.busid) == socket
        device.unplug()
        device.plug_again().wait_tty()
        assert clean_lab.pi.exists(device.sysfs)


def test_an_occupied_socket_and_a_wrong_one_are_told(ft232):
    with pytest.raises(LabError, match="plugged in there already"):
        ft232.lab.plug("ft232", "A1")
    with pytest.raises(LabError, match="no such USB socket"):
        ft232.lab.plug("ft232", "Z9")
    with pytest.raises(LabError, match="there is no hub in A9"):
        ft232.lab.plug("ft232", "A9.1")


def test_a_hub_carries_devices_and_takes_them_along(clean_lab):
    hub = clean_lab.plug("hub", "C3")
    device = clean_lab.plug("ft232", "C3.2", serial="BEHIND")
    device.wait_tty()
    assert device.busid.endswith("-3.2")
    t = hub.unplug()
    clean_lab.pi.events.wait(since=t, subsystem="tty", action="remove")
    assert clean_lab.devices() == []


@pytest.mark.parametrize("kind, driver", [("keyboard", "usbhid"), ("disk", "usb-storage"), ("net", "cdc_ether|rndis_host|cdc_subset"),
                                          ("audio", "snd-usb-audio")])
def test_other_devices_find_their_driver(clean_lab, kind, driver):
    device = clean_lab.plug(kind, "B2")
    clean_lab.wait_until(lambda: any(f"/{name}/" in text for name in driver.split("|") for text in [
        clean_lab.pi.sh(f"for l in {device.sysfs}:*/driver; do echo /$(basename $(readlink $l))/; done", check=False)]),
        what=f"{driver} to take the {kind}")
    device.unplug()
    clean_lab.wait_until(lambda: not clean_lab.pi.exists(device.sysfs), what=f"the {kind} to be gone")


def test_a_gadget_comes_again_each_time_it_is_reenumerated(clean_lab):
    device = clean_lab.plug("acm", "G1", serial="C0:FF:EE")
    device.wait_tty()
    link = "/dev/serial/by-id/usb-Espressif_USB_JTAG_serial_debug_unit_C0:FF:EE-if00"
    for _ in range(10):
        since = device.reenumerate()
        device.wait_tty(since)
        assert clean_lab.pi.exists(link)


def test_a_gadgets_wire_carries_bytes(clean_lab):
    device = clean_lab.plug("acm", "G2")
    name = device.wait_tty()
    clean_lab.pi.sh(f"stty -F /dev/{name} raw -echo")
    device.wire.open()
    reader = clean_lab.pi.spawn(f"exec 3<>/dev/{name}; echo up >&2; head -c 5 <&3; echo pong >&3")
    clean_lab.wait_until(lambda: reader.err)
    device.wire.write(b"ping\n")
    assert reader.wait(30) == 0
    assert bytes(reader.out) == b"ping\n"
    assert device.wire.read_until(b"\n") == b"pong\n"


def test_a_gadgets_texts_may_be_hostile(clean_lab):
    text = "<b>$(reboot)';\" %n\\ \u00e9"
    device = clean_lab.plug("acm", "G3", serial=text, product=text)
    device.wait_event("bind")
    assert clean_lab.pi.sh(f"cat {device.sysfs}/serial") == text


def test_a_cut_cable_carries_nothing_until_it_is_healed(clean_lab):
    clean_lab.wire.cut()
    assert clean_lab.pi.sh("ping -c 2 -W 1 10.77.0.2", check=False).code == 1
    clean_lab.wire.heal()
    clean_lab.pi.sh("ping -c 1 -W 20 10.77.0.2")


def test_a_slow_cable_takes_its_time(clean_lab):
    clean_lab.pi.sh("ping -c 1 -W 5 10.77.0.2")
    clean_lab.wire.delay(150)
    line = clean_lab.pi.sh("ping -c 3 -i 0.3 -W 5 10.77.0.2").splitlines()[-1]
    assert float(line.split("=")[1].split("/")[0]) >= 300
    clean_lab.wire.heal()


def test_a_lossy_cable_loses(clean_lab):
    clean_lab.wire.delay(0, loss=50)
    text = clean_lab.pi.sh("ping -c 40 -i 0.02 -W 1 10.77.0.2", check=False)
    assert 4 < int(text.split(" received")[0].split()[-1]) < 26
    clean_lab.wire.heal()


def test_devices_survive_a_reset_of_the_pi(clean_lab):
    device = clean_lab.plug("ft232", "A1", serial="STAYS")
    gadget = clean_lab.plug("acm", "G1")
    device.wait_tty()
    before = clean_lab.pi.boot_id()
    clean_lab.pi.reboot()
    assert clean_lab.pi.boot_id() != before
    clean_lab.wait_until(lambda: clean_lab.pi.exists("/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_STAYS-if00-port0"))
    clean_lab.wait_until(lambda: clean_lab.pi.exists(f"{gadget.sysfs}/serial"))


def test_the_vm_reboots_cleanly_and_keeps_its_disk(clean_lab):
    clean_lab.vm.write("/root/kept", "yes")
    clean_lab.vm.reboot(clean=True)
    assert clean_lab.vm.read("/root/kept") == b"yes"
    clean_lab.vm.sh("ping -c 1 -W 20 pi")


def test_power_comes_back_with_what_was_plugged_in(ft232):
    lab = ft232.lab
    lab.pi.sh("echo synced > /root/kept; sync")
    lab.pi.power_off()
    assert not lab.pi.is_on()
    with pytest.raises(LabError, match="no power"):
        lab.pi.sh("true")
    lab.pi.power_on()
    assert lab.pi.read("/root/kept") == b"synced\n"
    lab.wait_until(lambda: lab.pi.exists("/dev/ttyUSB0"))
    ft232.wire.open()
    lab.pi.sh("stty -F /dev/ttyUSB0 raw -echo; echo hello > /dev/ttyUSB0")
    assert ft232.wire.read_until(b"\n") == b"hello\n"


@pytest.fixture
def second_lab():
    """Another lab, beside the session's."""
    second = Lab(f"/run/usbpush-lab-second-{os.getpid()}")
    yield second
    second.down()


def test_two_labs_run_side_by_side(lab, second_lab):
    second_lab.up()
    second_lab.pi.write("/root/second", "")
    assert not lab.pi.exists("/root/second")
    second_lab.pi.sh("ping -c 1 -W 5 vm")


def test_a_killed_lab_leaves_nothing_that_stops_the_next(second_lab):
    second_lab.up()
    processes = noted_processes(second_lab.dir)
    assert len(processes) == 4  # the supervisor, the repeater, two guests
    os.kill(second_lab.status()["pid"], signal.SIGKILL)
    wait_until(lambda: noted_processes(second_lab.dir) == [], 10, "its children to end with it")
    assert not second_lab.is_up()
    second_lab.up()
    assert second_lab.vm.sh("hostname") == "vm"


def test_down_leaves_no_process_and_no_file(second_lab):
    second_lab.up()
    processes = noted_processes(second_lab.dir)
    second_lab.down()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in processes)
    assert not second_lab.dir.exists()


def test_the_command_tells_what_went_wrong_and_what_to_do(tmp_path):
    command = pathlib.Path(__file__).with_name("lab")
    done = subprocess.run([command, "sh", "pi", "true"], capture_output=True, text=True,
                          env={**os.environ, "USBPUSH_LAB_DIR": str(tmp_path)})
    assert done.returncode == 1
    assert f"no lab runs in {tmp_path}" in done.stderr and "lab up" in done.stderr
