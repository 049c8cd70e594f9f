"""Settings that make no sense, and command lines that can't be done: the text says where, what, and what to do."""
import pytest

from usbpush_lab import wait_until


@pytest.fixture
def edited(product):
    """A function that adds lines to a file of a guest and restarts the service; all is as before at the end."""
    undo = []

    def edit(guest, path, service, *lines):
        content = guest.read(path)
        undo.append((guest, path, service, content))
        guest.write(path, content + "".join(f"{text}\n" for text in lines).encode())
        guest.sh(f"systemctl restart {service}")
        return content.count(b"\n") + 1

    yield edit
    for guest, path, service, content in undo:
        guest.write(path, content)
        guest.sh(f"systemctl restart {service}")


def test_a_bad_line_in_vm_conf_is_named_and_the_rest_holds(product, edited):
    first = edited(product.pi, "/etc/usbpush/vm.conf", "usbpush-exporter", "VM_PORT=ninety", "COLOUR=blue", "hello", "PATIENCE_MS=5")
    product.wait_link("UP")
    events = product.pi.sh("usbpush events")
    texts = (f'/etc/usbpush/vm.conf:{first}: VM_PORT=ninety makes no sense; expected a port from 1 to 65535',
             f'/etc/usbpush/vm.conf:{first + 1}: unknown setting "COLOUR"',
             f'/etc/usbpush/vm.conf:{first + 2}: "hello" is no setting; expected KEY=VALUE',
             f'/etc/usbpush/vm.conf:{first + 3}: PATIENCE_MS=5 makes no sense; expected milliseconds from 1000 to 600000')
    product.wait_journal(product.pi, "usbpush-exporter", *texts)
    for text in texts:
        assert text in events


def test_a_bad_line_in_pi_conf_is_named_and_the_rest_holds(product, edited):
    first = edited(product.vm, "/etc/usbpush/pi.conf", "usbpush-handler", "PI=../etc", "DEFAULT_PI_HOST=two words", "PY=1")
    product.wait_link("UP")
    product.wait_journal(product.vm, "usbpush-handler",
                         f"/etc/usbpush/pi.conf:{first}: PI=../etc makes no sense; expected ID NAME [ADDRESS]",
                         f"/etc/usbpush/pi.conf:{first + 1}: DEFAULT_PI_HOST=two words makes no sense; expected a host name or an IP address",
                         f'/etc/usbpush/pi.conf:{first + 2}: unknown setting "PY"')
    assert [pi["name"] for pi in product.vm_status()["pis"]] == ["pi"]


def test_a_selection_that_fits_two_is_refused_with_the_list(product):
    devices = [product.lab.plug("ft232", "A1", serial="LEFT"), product.lab.plug("ft232", "A2", serial="RIGHT")]
    product.wait_attached(*devices)

    for guest, command in ((product.pi, "usbpush detach 0403:6001"), (product.vm, "usbpush-vm detach 0403:6001")):
        refused = guest.sh(command, check=False)
        assert refused.code == 1 and "0403:6001 fits 2 devices" in refused.err
        assert all(device.busid in refused.err for device in devices)
    assert len(product.used_ports()) == 2

    assert product.pi.sh("usbpush detach RIGHT", check=False).code == 0
    product.wait_device(devices[1], "IGNORED")
    assert product.pi.sh(f"usbpush attach {devices[1].busid}", check=False).code == 0
    product.wait_attached(*devices)


@pytest.mark.parametrize("side, command, code, text", [
    ("pi", "usbpush detach 9-9", 1, "9-9: no such device"),
    ("pi", "usbpush attach nothing", 1, "nothing: no such device"),
    ("vm", "usbpush-vm detach 9-9", 1, "9-9: no such device"),
    ("vm", "usbpush-vm unpair nobody", 1, "nobody: no such Pi is paired"),
    ("pi", "usbpush dance", 2, '"dance"'),
    ("pi", "usbpush", 2, "usbpush status"),
    ("pi", "usbpush detach", 2, "takes one DEVICE"),
    ("pi", "usbpush status --fast", 2, "--help"),
    ("pi", "usbpush pair --host vm --port x --host-key k", 2, "--port takes a number"),
    ("vm", "usbpush-vm dance", 2, "--help"),
    ("vm", "usbpush-vm", 2, "--help"),
    ("vm", "usbpush-vm detach", 2, "needs a DEVICE"),
    ("vm", "usbpush-vm status --fast", 2, "--help"),
    ("vm", "usbpush-vm boot-attach --timeout soon", 2, "--timeout takes seconds"),
    ("pi", "usbpush --help", 0, ""),
    ("vm", "usbpush-vm --help", 0, ""),
    ("pi", "usbpush test", 0, ""),
    ("vm", "usbpush-vm boot-attach", 0, ""),
])
def test_commands_end_with_0_done_1_failed_2_usage(product, side, command, code, text):
    result = product.lab.guest(side).sh(command, check=False)
    assert result.code == code, result + result.err
    assert text in result.err


def test_who_is_not_root_may_look_and_change_nothing(product):
    device = product.lab.plug("ft232", "A1", serial="LOOK")
    product.wait_attached(device)
    as_nobody = "runuser -u nobody -- "
    for guest, look in ((product.pi, "usbpush status"), (product.pi, "usbpush devices"), (product.pi, "usbpush events"),
                        (product.vm, "usbpush-vm status")):
        assert guest.sh(as_nobody + look, check=False).code == 0
    for guest, change in ((product.pi, "usbpush detach 1-1"), (product.pi, "usbpush attach --all"), (product.pi, "usbpush unpair"),
                          (product.vm, "usbpush-vm detach LOOK"), (product.vm, "usbpush-vm unpair pi")):
        refused = guest.sh(as_nobody + change, check=False)
        assert refused.code == 1 and "sudo" in refused.err, change
    assert product.device(device.busid)["state"] == "ATTACHED"


def test_without_its_daemon_a_command_says_how_to_start_it(product):
    for guest, command, unit in ((product.pi, "usbpush status", "usbpush-exporter"), (product.vm, "usbpush-vm status", "usbpush-handler")):
        guest.sh(f"systemctl stop {unit}")
        try:
            result = guest.sh(command, check=False)
            assert result.code == 1
            assert f"{unit} is not running" in result.err and f"sudo systemctl start {unit}" in result.err
        finally:
            guest.sh(f"systemctl start {unit}")
    wait_until(lambda: product.link().get("state") == "UP", 60, "the link to be up again", lab=product.lab)
