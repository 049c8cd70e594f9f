"""The README's last steps, as they stand there, on two machines that were never paired: what tests/readme calls when it has done the first ones."""
import os

import pytest

from pairing import Pair
from product import Product

STEPS = os.environ.get("USBPUSH_README_STEPS", "").splitlines()

pytestmark = pytest.mark.skipif(not STEPS, reason="tests/readme tells this story")


def test_the_readmes_steps_end_in_a_working_pairing(lab):
    on_vm, on_pi = (step.removeprefix("sudo ") for step in STEPS)  # who acts in the lab is root
    product = Product(lab)
    assert product.link().get("state") == "UNPAIRED"
    pair = Pair(product, on_vm)
    codes = pair.type_on_the_pi(pair.digits(), on_pi)
    assert codes[:2] == (0, 0), codes
    product.wait_link("UP")
    device = lab.plug("ft232", "A1", serial="README")
    node, = product.wait_attached(device)
    assert node.startswith("/dev/ttyUSB")
    # "`usbpush status` on the Pi and `usbpush-vm status` on the VM say what is where"
    assert node in product.pi.sh("usbpush status") and node in product.vm.sh("usbpush-vm status")
