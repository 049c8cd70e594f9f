"""Pairing by six digits: found by mDNS, typed on the Pi, proved by both; and the portal that carries it."""
import pytest

from pairing import Pair
from usbpush_lab import wait_until

CONFIG, KEYS = "/etc/usbpush/vm.conf", "/var/lib/usbpush/.ssh/authorized_keys"


@pytest.fixture
def strangers(product):
    """Two machines that are not paired; afterwards they are again."""
    product.pi.sh("usbpush unpair")
    product.vm.sh("usbpush-vm unpair pi", check=False)
    before = product.pi.sh(f"cat {CONFIG} 2>/dev/null || true"), product.vm.sh(f"cat {KEYS} 2>/dev/null || true")
    yield product, before
    if product.link().get("state") != "UP":
        product.pi.sh("usbpush unpair")
        product.vm.sh("usbpush-vm unpair pi", check=False)
        product.pair()
    product.wait_link("UP")


def files(product):
    return product.pi.sh(f"cat {CONFIG} 2>/dev/null || true"), product.vm.sh(f"cat {KEYS} 2>/dev/null || true")


def test_six_digits_pair_two_machines_that_found_each_other(strangers):
    product, _ = strangers
    wait_until(lambda: product.status()["vms"], 30, "the Pi to see the VM on the network", lab=product.lab)
    pair = Pair(product)
    on_pi, on_vm, *words = pair.type_on_the_pi(pair.digits())
    assert (on_pi, on_vm) == (0, 0), words
    product.wait_link("UP")
    device = product.lab.plug("ft232", "A1", serial="PAIRED")
    product.wait_attached(device)


def test_a_wrong_digit_fails_on_both_sides_and_changes_nothing(strangers):
    product, before = strangers
    pair = Pair(product)
    digits = pair.digits()
    wrong = digits[:5] + str((int(digits[5]) + 1) % 10)
    on_pi, on_vm, *words = pair.type_on_the_pi(wrong)
    assert on_pi == 1 and on_vm == 1, words
    assert files(product) == before
    assert product.link()["state"] == "UNPAIRED"


def test_a_pairing_that_is_broken_off_changes_nothing(strangers):
    product, before = strangers
    pair = Pair(product)
    pair.asked.kill(2)
    assert pair.asked.wait(30) != 0
    assert files(product) == before
    result = product.pi.sh("timeout 20 usbpush pair", check=False, stdin=pair.digits() + "\n")
    assert result.code != 0
    assert files(product) == before and product.link()["state"] == "UNPAIRED"


def test_a_pairing_outlasts_the_power_of_both_machines_in_the_next_moment(strangers):
    """A file system writes a name that was changed seconds later, unless it is asked to."""
    product, _ = strangers
    product.pair()
    product.vm.power_off()
    product.pi.power_off()
    product.pi.power_on(wait=False)
    product.vm.power_on()
    product.pi.wait_ready()
    product.wait_link("UP", timeout=120)


# ---- by a login of the VM, given once

PASSWORD = "given only once"


@pytest.fixture
def login(strangers):
    """The VM lets root in by a password, for as long as this takes."""
    product, before = strangers
    vm = product.vm
    shadow = vm.sh("cat /etc/shadow")
    vm.sh(f"echo 'root:{PASSWORD}' | chpasswd; printf 'PermitRootLogin yes\\nPasswordAuthentication yes\\n' >/etc/ssh/sshd_config.d/00-root.conf; systemctl restart ssh")
    yield product, before
    vm.sh("rm -f /etc/ssh/sshd_config.d/00-root.conf; systemctl restart ssh")
    vm.sh("cat >/etc/shadow", stdin=shadow + "\n")


def pair_by_login(product, password, answer="yes"):
    return product.pi.sh("usbpush pair --login root vm", check=False, stdin=f"{answer}\n{password}\n", timeout=150)


def test_a_login_of_the_vm_given_once_pairs_it_and_is_kept_nowhere(login):
    product, _ = login
    fingerprint = product.vm.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    result = pair_by_login(product, PASSWORD)
    assert result.code == 0 and fingerprint in result, f"{result}{result.err}"
    product.wait_link("UP")
    device = product.lab.plug("ft232", "A1", serial="LOGIN")
    product.wait_attached(device)
    for guest in (product.pi, product.vm):
        assert guest.sh(f"journalctl -b --no-pager | grep -c '{PASSWORD}' || true") == "0"
        assert guest.sh(f"grep -rl '{PASSWORD}' /etc /var/lib/usbpush* /run/usbpush* 2>/dev/null || true") == ""
    assert PASSWORD not in product.pi.sh("usbpush events")


def test_a_wrong_password_or_a_key_that_is_not_right_changes_nothing(login):
    product, before = login
    wrong = pair_by_login(product, "another one")
    assert wrong.code != 0 and "password" in wrong.err.lower(), wrong.err
    doubted = pair_by_login(product, PASSWORD, answer="no")
    assert doubted.code != 0 and "nothing was sent" in doubted.err, doubted.err
    assert files(product) == before and product.link()["state"] == "UNPAIRED"


# ---- the portal, as any machine on the network sees it

def ask(product, path, *options):
    """Status and body of the portal's answer to the VM."""
    text = product.vm.sh(["curl", "-s", "-m", "20", "-w", "\n%{http_code}", *options, f"http://pi:8080{path}"], check=False)
    body, _, code = text.rpartition("\n")
    return int(code), body


def test_the_portal_shows_a_stranger_a_page_and_nothing_of_the_devices(product):
    device = product.lab.plug("ft232", "A1", serial="SECRET")
    product.wait_attached(device)
    code, page = ask(product, "/")
    assert code == 200 and "<html" in page and "SECRET" not in page
    for path in ("/api/v1/status", "/api/v1/devices", "/api/v1/events", "/metrics"):
        code, body = ask(product, path)
        assert code == 401 and "SECRET" not in body, path
    code, body = ask(product, "/api/v1/devices/1-1/detach", "-X", "POST", "-H", "Content-Type: application/json", "-d", "{}")
    assert code in (401, 403), body
    assert product.device(device.busid)["state"] == "ATTACHED"


def test_the_portal_answers_only_to_names_of_its_own(product):
    code, body = ask(product, "/", "-H", "Host: evil.example")
    assert code == 421, body


def test_the_portal_is_killed_and_the_devices_never_notice(product):
    device = product.lab.plug("ft232", "A1", serial="STAYS")
    product.wait_attached(device)
    ports, pid = product.used_ports(), product.pid(product.pi, "usbpush-portal")
    product.pi.sh(f"kill -9 {pid}")
    wait_until(lambda: ask(product, "/")[0] == 200, 30, "the portal to be back", interval=0.3, lab=product.lab)
    assert product.pid(product.pi, "usbpush-portal") != pid
    assert product.used_ports() == ports and product.device(device.busid)["attached_count"] == 1
