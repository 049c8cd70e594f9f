"""What somebody did by hand with the kernel's own tools, before our daemons started: it is his, on both machines, until he says otherwise and his session has ended."""
from tty_user import TtyUser
from usbpush_lab import wait_until

AUTHORIZE = """
for d in /sys/devices/platform/vhci_hcd.*/usb*/*-*; do
    [ "$(cat $d/serial 2>/dev/null)" = HIS ] && echo 1 > $d/authorized && exit 0
done
exit 1
"""


def attach_by_hand(product, device):
    """`usbip bind` on the Pi, `usbip attach` on the VM; the node."""
    t = device.t
    product.pi.sh(f"usbip bind -b {device.busid}")
    product.vm.sh(f"usbip attach -r pi -b {device.busid}")
    wait_until(lambda: product.vm.sh(AUTHORIZE, check=False).code == 0, 30, "the VM's kernel to have read it", interval=0.3, lab=product.lab)
    return "/dev/" + product.vm.events.wait(since=t, kind="udev", action="add", subsystem="tty", timeout=30)["name"]


def serials_in_status(product):
    return [d["serial"] for pi in product.vm_status()["pis"] for d in pi["devices"]]


def test_what_stock_usbip_bound_and_attached_is_left_alone_until_it_is_asked_for(product):
    pi, vm = product.pi, product.vm
    product.pi.sh("systemctl stop usbpush-exporter")
    product.vm.sh("systemctl stop usbpush-handler")
    his = product.lab.plug("ft232", "A1", serial="HIS")
    his.wait_tty()
    daemon = pi.spawn("exec usbipd -4")
    try:
        wait_until(lambda: pi.sh("ss -Htln sport = :3240"), 20, "usbipd to listen", lab=product.lab)
        node = attach_by_hand(product, his)
        ports = product.used_ports()
        user = TtyUser(product, his, node)
        user.talk()

        vm.sh("systemctl start usbpush-handler")
        pi.sh("systemctl start usbpush-exporter")
        ours = product.lab.plug("ft232", "B1", serial="OURS")
        (our_node,) = product.wait_attached(ours)
        user.talk()
        assert our_node != node and serials_in_status(product) == ["OURS"]
        assert ports.items() < product.used_ports().items(), "another port"
        entry = product.device(his.busid)
        assert entry["state"] == "IGNORED" and "by somebody else" in entry["reason"]

        vm.sh("systemctl stop usbpush-handler")
        pi.sh("systemctl stop usbpush-exporter")
        assert product.used_ports() == ports and product.bound_busids() == [his.busid]
        vm.sh("systemctl start usbpush-handler")
        pi.sh("systemctl start usbpush-exporter")
        product.wait_link("UP")

        pi.sh(f"usbpush attach {his.busid}", check=False)
        assert product.wait_device(his, "FAILED")["error"]["code"] == "busy"
        user.talk()
        user.end()
        product.wait_attached(ours)  # stock's tools end with "open vhci_driver" while a port's device has no place in sysfs yet
        vm.sh(f"usbip detach -p {next(iter(ports))}")
        product.wait_attached(his, ours)
    finally:
        daemon.kill()
        daemon.wait()
        vm.sh("systemctl start usbpush-handler")
        pi.sh("systemctl start usbpush-exporter")
    product.wait_link("UP")
