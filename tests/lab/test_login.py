"""What the Pi's key opens on the VM, and what happens when one side does not trust the other any more."""
import pathlib
import re
import shlex

import pytest

from usbpush_lab import wait_until

KEY = "/var/lib/usbpush/id_ed25519"
HOST_KEY = pathlib.Path("/etc/ssh/ssh_host_ed25519_key")
TALK = 'echo \'{"type":"nothing"}\''


class Ssh:
    """OpenSSH's client on the Pi, with the Pi's own key in hand."""

    OPTIONS = ("-i", KEY, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
               "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=INFO", "-o", "ConnectTimeout=20")

    def __init__(self, product):
        self.pi, self.vm = product.pi, product.vm

    def command(self, *words, program="ssh"):
        return shlex.join([program, *self.OPTIONS, *words])

    def run(self, *words, before="", timeout=60):
        """Its result. The relay ends the channel after a line that makes no sense, so it comes to an end by itself."""
        return self.pi.sh(f"{before}{TALK} | {self.command(*words)}", check=False, timeout=timeout)

    def is_relay(self, result):
        """Whether what answered was the handler, through the relay."""
        return result.startswith('{') and '"refused"' in result


@pytest.fixture
def ssh(product):
    product.vm.sh("rm -rf /tmp/mark; mkdir -m 777 /tmp/mark")
    return Ssh(product)


# ---- the Pi's key in a thief's hand

def test_the_key_gives_no_shell_and_runs_no_command(ssh):
    for words in (["usbpush@vm"], ["usbpush@vm", "touch /tmp/mark/a"], ["-s", "usbpush@vm", "sftp"], ["usbpush@vm", "sh -i"],
                  ["usbpush@vm", "usbpush-relay --pi 00; touch /tmp/mark/b"]):
        assert ssh.is_relay(ssh.run(*words)), words
    assert ssh.vm.sh("ls /tmp/mark") == ""


def test_the_key_gives_no_terminal(ssh):
    assert "PTY allocation request failed" in ssh.run("-tt", "usbpush@vm").err


def test_the_key_copies_no_file(ssh):
    ssh.pi.write("/tmp/thing", "thing")
    copies = [ssh.pi.spawn(ssh.command(*options, "/tmp/thing", "usbpush@vm:/tmp/mark/", program="scp")) for options in (["-s"], ["-O"])]
    copies.append(ssh.pi.spawn(f"echo 'put /tmp/thing /tmp/mark/' | {ssh.command('-b', '-', 'usbpush@vm', program='sftp')}"))
    for copy in copies:
        assert copy.wait(90) != 0
    assert ssh.vm.sh("ls /tmp/mark") == ""


def test_the_key_forwards_nothing_to_the_vm(ssh):
    """-L, -D and -W: the VM opens no connection for the Pi, to a port or to a socket."""
    assert "prohibited" in ssh.run("-W", "127.0.0.1:22", "usbpush@vm").err
    for forward in ("-L 2222:127.0.0.1:22", "-L 2222:/run/usbpush/handler.sock", "-D 2222"):
        holder = ssh.pi.spawn(ssh.command("-N", *forward.split(), "usbpush@vm"))
        try:
            wait_until(lambda: ssh.pi.sh("ss -Hltn 'sport = :2222'"), 60, "the client to listen", interval=0.3)
            proxy = "socat -t 20 - SOCKS4:127.0.0.1:127.0.0.1:22,socksport=2222" if "-D" in forward else "socat -t 20 - TCP:127.0.0.1:2222"
            got = ssh.pi.sh(f"echo '{{}}' | {proxy}", check=False)
            assert got == "", f"{forward}: {got}"
            wait_until(lambda: b"open failed" in holder.err, 30, f"{forward} to be refused")
        finally:
            holder.kill()
            holder.wait(30)


def test_the_key_forwards_nothing_from_the_vm(ssh):
    """-R: the VM listens nowhere for the Pi."""
    for forward in ("2222:127.0.0.1:22", "/tmp/mark/socket:127.0.0.1:22"):
        result = ssh.run("-o", "ExitOnForwardFailure=yes", "-R", forward, "usbpush@vm")
        assert result.code != 0 and "remote port forwarding failed" in result.err, forward
    assert ssh.vm.sh("ss -Hltn 'sport = :2222'; ls /tmp/mark") == ""


def relay_environments(vm):
    """{SSH_CONNECTION: variables}, of each connection that has a relay now."""
    text = vm.sh("for p in $(pgrep -x usbpush-relay); do echo RELAY; tr '\\0' '\\n' < /proc/$p/environ; done 2>/dev/null", check=False)
    relays = [dict(re.findall(r"^(\w+)=(.*)$", part, re.M)) for part in text.split("RELAY\n")]
    return {variables["SSH_CONNECTION"]: variables for variables in relays if "SSH_CONNECTION" in variables}


def test_the_key_carries_no_agent_no_x11_and_no_environment(ssh):
    """With these granted, sshd would put SSH_AUTH_SOCK and DISPLAY into the environment of the relay."""
    links = relay_environments(ssh.vm)
    assert links, "those of the exporter's own connection"
    holder = ssh.pi.spawn("eval $(ssh-agent) >/dev/null; DISPLAY=:1 "
                          + ssh.command("-A", "-Y", "-o", "SetEnv=MARK=here LD_PRELOAD=/tmp/evil.so", "usbpush@vm"))
    try:
        wait_until(lambda: b"X11 forwarding request failed" in holder.err, 60, "X11 to be refused")
        names = wait_until(lambda: next((v for c, v in relay_environments(ssh.vm).items() if c not in links), None), 60, "the relay")
    finally:
        holder.kill()
        holder.wait(30)
        ssh.pi.sh("pkill -x ssh-agent", check=False)
    assert not {"SSH_AUTH_SOCK", "DISPLAY", "MARK", "LD_PRELOAD"} & set(names)


def test_no_other_way_opens_the_login(ssh):
    """A password, even the right one; another key; none."""
    ssh.vm.sh("echo usbpush:right | chpasswd")
    try:
        # An OpenSSH client types a password by SSH_ASKPASS where it has no terminal.
        ssh.pi.write("/run/askpass", "#!/bin/sh\necho right\n")
        ssh.pi.sh("chmod +x /run/askpass")
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20"
        by_password = ssh.pi.sh("SSH_ASKPASS=/run/askpass SSH_ASKPASS_REQUIRE=force ssh -o PubkeyAuthentication=no "
                                f"-o PreferredAuthentications=password,keyboard-interactive {options} usbpush@vm </dev/null", check=False)
        assert by_password.code == 255 and "Permission denied (publickey)" in by_password.err
    finally:
        ssh.vm.sh("usermod -p '!*' usbpush")
    ssh.pi.sh("rm -f /tmp/other /tmp/other.pub; ssh-keygen -q -t ed25519 -N '' -f /tmp/other")
    for key in ("-i /tmp/other -o IdentitiesOnly=yes", "-o IdentityFile=none"):
        result = ssh.pi.sh(f"ssh {key} -o BatchMode=yes {options} usbpush@vm </dev/null", check=False)
        assert result.code == 255 and "Permission denied (publickey)" in result.err


# ---- the VM is another one, or does not know the Pi any more

def count_connections(vm):
    """Connections that have come to the VM's sshd."""
    return int(vm.sh("journalctl --sync; journalctl -u ssh -o cat | grep -c '^Connection from'", check=False))


def tell_connections(vm):
    vm.write("/etc/ssh/sshd_config.d/00-tell.conf", "LogLevel VERBOSE\n")
    vm.sh("systemctl restart ssh")


@pytest.fixture
def other_vm(product):
    """A function that gives the VM another host key, as if it had been set up anew; the old one is back at the end."""
    vm = product.vm
    vm.sh(f"mkdir -p /root/kept-host-key; cp -p {HOST_KEY}* /root/kept-host-key/")

    def change():
        vm.sh(f"rm {HOST_KEY}*; ssh-keygen -q -t ed25519 -N '' -f {HOST_KEY}")
        tell_connections(vm)
        vm.sh("pkill -u usbpush -x sshd")

    yield change
    vm.sh("cp -p /root/kept-host-key/* /etc/ssh/; rm -f /etc/ssh/sshd_config.d/00-tell.conf; systemctl restart ssh")
    product.pair()
    product.wait_link("UP")


def test_another_host_key_is_refused_aloud_and_never_tried_again(product, other_vm):
    device = product.lab.plug("ft232", "A1", serial="KEPT")
    product.wait_attached(device)
    other_vm()

    link = product.wait_link("REFUSED")
    assert link["error"]["code"] == "host-key" and "host key" in link["error"]["text"]
    assert link["next_try_ms"] is None
    assert "host key" in product.pi.sh("usbpush status") and "usbpush pair" in link["error"]["cure"]
    product.wait_nothing_attached()

    # Neither time nor a plug makes it try again.
    before = count_connections(product.vm)
    another = product.lab.plug("ft232", "A2", serial="NEW")
    product.wait_device(another, "READY")
    attempts = product.link()["attempts"]
    product.pi.sh("sleep 15")
    assert count_connections(product.vm) == before
    link = product.link()
    assert (link["state"], link["attempts"]) == ("REFUSED", attempts)
    assert product.used_ports() == {}

    product.pair()
    product.wait_attached(device, another)


def wait_no_pis(product):
    """A Pi that was unpaired is in the VM's status until the last of its devices has gone there."""
    wait_until(lambda: product.vm_status().get("pis") == [], 30, "the VM to know no Pi", lab=product.lab)


def test_an_unpaired_pi_loses_its_devices_and_says_what_to_do(product):
    device = product.lab.plug("ft232", "A1", serial="OUT")
    product.wait_attached(device)
    try:
        product.vm.sh("usbpush-vm unpair pi")
        link = product.wait_link("REFUSED")
        assert link["error"]["code"] == "not-paired" and "usbpush pair" in link["error"]["cure"]
        assert link["error"]["text"] in product.pi.sh("usbpush status")
        product.wait_nothing_attached()
        wait_no_pis(product)
        product.wait_device(device, "READY")
    finally:
        key = product.pi.sh("usbpush key")
        product.vm.sh("usbpush-vm authorize --name pi --address pi -", stdin=key + "\n")
    product.pi.sh("usbpush attach --all")
    product.wait_attached(device)


def keys(product):
    """What the VM lets in, and where its Pis are."""
    return product.vm.sh("cat /var/lib/usbpush/.ssh/authorized_keys; grep -v '^#' /etc/usbpush/pi.conf || true")


def test_unpair_on_the_pi_cleans_both_ends(product):
    """The devices are the Pi's own again, and the VM does not know it any more."""
    device = product.lab.plug("ft232", "A1", serial="MINE")
    product.wait_attached(device)
    own = product.pi.sh("usbpush key").split()[1]
    assert own in keys(product)
    try:
        product.pi.sh("usbpush unpair")
        assert own not in keys(product)
        wait_no_pis(product)
        product.wait_device(device, "IGNORED")
        wait_until(lambda: product.pi.exists("/dev/ttyUSB0"), 60, "the Pi's own tty", lab=product.lab)
        assert product.link()["state"] == "UNPAIRED"
        product.wait_nothing_attached()
        assert product.bound_busids() == [] and product.matched_busids() == []
    finally:
        product.pair()
    product.wait_attached(device)


def test_unpair_without_the_vm_says_what_is_left_there(product):
    device = product.lab.plug("ft232", "A1", serial="MINE")
    product.wait_attached(device)
    own = product.pi.sh("usbpush key").split()[1]
    try:
        product.lab.wire.cut()
        product.wait_link("DOWN")
        result = product.pi.sh("usbpush unpair", check=False)
        assert "sudo usbpush-vm unpair" in f"{result}{result.err}"
        product.wait_device(device, "IGNORED")
        assert product.link()["state"] == "UNPAIRED"
        product.lab.wire.heal()
        product.wait_nothing_attached()
        assert own in keys(product)
        product.vm.sh("usbpush-vm unpair pi")
        assert own not in keys(product)
    finally:
        product.lab.wire.heal()
        product.pair()
    product.wait_attached(device)
