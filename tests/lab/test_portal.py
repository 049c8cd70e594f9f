"""The portal of a real Pi in a real browser: the first minute, and what it shows while things happen."""
import json
import os
import statistics
import time

import pytest

from browser import Browser
from pairing import Pair
from usbpush_lab import wait_until

ORIGIN = "http://pi.local:8080"  # as the README says it: the Pi's name, .local
PASSWORD = "correct horse battery"


@pytest.fixture
def browser(paired_lab):
    a_browser = Browser(paired_lab.pi, ORIGIN, 8080)
    yield a_browser
    a_browser.close()


@pytest.fixture
def newcomers(product):
    """Both machines as they are when the packages have just been installed for the first time; afterwards they are paired."""
    for guest, name, package in ((product.pi, "usbpush-pi", "USBPUSH_PI_DEB"), (product.vm, "usbpush-vm", "USBPUSH_VM_DEB")):
        guest.sh(f"DEBIAN_FRONTEND=noninteractive dpkg --purge {name}", timeout=120)
        guest.install(os.environ[package])
    yield product
    if product.link().get("state") != "UP":
        product.pi.sh("usbpush unpair", check=False)
        product.vm.sh("usbpush-vm unpair pi", check=False)
        product.pair()


def test_a_newcomers_board_turns_green_in_the_browser_within_a_minute(newcomers, browser):
    product = newcomers
    device = product.lab.plug("ft232", "A1", serial="FIRST")
    code = product.pi.sh("usbpush setup-code").split()[-1]
    began = time.monotonic()

    browser.open("page", "desktop")
    browser.heading("page", "Make this portal yours", 30)
    browser.shoot("page", "lab-1-claim")
    browser.fill("page", "Setup code", code)
    browser.fill("page", "New password", PASSWORD)
    browser.click("page", "Claim it")
    browser.heading("page", "Not paired with a VM yet", 30)
    browser.shoot("page", "lab-2-unpaired")

    pair = Pair(product)
    browser.click("page", "Set up pairing")
    browser.fill("page", "The six digits that it shows", pair.digits())
    browser.shoot("page", "lab-3-digits")
    browser.click("page", "Pair")
    browser.heading("page", "It works: 1 device on vm", 60)
    took = time.monotonic() - began
    assert pair.asked.wait(30) == 0, pair.words(pair.asked)

    browser.shoot("page", "lab-4-works")
    text = browser.text("page")
    assert "/dev/ttyUSB0" in text and "FIRST" in text, text
    browser.watch("page")
    assert any(card.startswith("green") for card in browser.moments("page")[0]["text"].split("\n")[1:])
    browser.open("phone", "phone-dark", "page")
    browser.heading("phone", "It works: 1 device on vm", 30)
    browser.shoot("phone", "lab-5-works-phone-dark")
    for name in ("page", "phone"):
        assert browser.violations(name) == []
        assert browser.complaints(name) == []
    assert product.wait_attached(device) == ["/dev/ttyUSB0"]
    print(f"\nfrom the first page load to green: {took:.1f} s; pictures in {browser.shots.name}/lab-*.png")
    assert took < 60


class Events:
    """`usbpush events --json` of the Pi, each with the time at which this machine had it."""

    def __init__(self, product):
        self.lab, self._rest, self.events = product.lab, b"", []
        self._program = product.pi.spawn("exec usbpush events --follow --json", self._take)

    def _take(self, data):
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.events += [{**json.loads(line), "t": time.time()} for line in lines]

    def wait(self, since, timeout=90, **wanted):
        def first():
            return next((e for e in self.events if e["t"] >= since and all(e.get(k) == v for k, v in wanted.items())), None)
        return wait_until(first, timeout, f"an event {wanted}", interval=0.01, lab=self.lab)

    def close(self):
        self._program.kill()
        self._program.wait(30)


def lag(browser, name, since, event, text):
    """Seconds from an event until the page said so, for the first time since then."""
    def shown():
        return next((m["t"] for m in browser.moments(name) if m["t"] > since and text in m["text"]), None)
    return wait_until(shown, 30, f"the page {name} to say {text!r}", interval=0.05) - event["t"]


@pytest.fixture
def owner(product, browser):
    """Two browsers that are logged in."""
    product.pi.sh("usbpush reset-password")
    browser.open("page", "desktop")
    browser.heading("page", "Make this portal yours", 30)
    browser.fill("page", "Setup code", product.pi.sh("usbpush setup-code").split()[-1])
    browser.fill("page", "New password", PASSWORD)
    browser.click("page", "Claim it")
    browser.heading("page", "Ready: vm is connected", 30)
    browser.open("phone", "phone", "page")
    browser.heading("phone", "Ready: vm is connected", 30)
    events = Events(product)
    yield browser, events
    events.close()


@pytest.mark.alone
def test_two_pages_follow_plug_unplug_cut_and_reboot_without_reload(product, owner):
    """Within half a second of the exporter's own event."""
    browser, events = owner
    lab, lags = product.lab, {}
    stays = lab.plug("ft232", "B1", serial="STAYS")
    product.wait_attached(stays)
    for name in ("page", "phone"):
        browser.heading(name, "It works: 1 device on vm", 30)
    browser.unfold("phone", "Details")
    browser.scroll("phone", 200)
    browser.focus("phone", "Detach QEMU USB SERIAL")
    place = browser.place("phone")
    assert place["focus"] and place["open"] == 1
    for name in ("page", "phone"):
        browser.watch(name)

    def follow(what, act, text, **wanted):
        since = time.time()
        act()
        event = events.wait(since, **wanted)
        lags[what] = max(lag(browser, name, since, event, text) for name in ("page", "phone"))

    device = lab.plug("ft232", "A1", serial="COMES")
    busid = device.busid
    events.wait(0, busid=busid, state="ATTACHED")
    device.unplug()
    product.wait_attached(stays)
    for i in range(3):
        follow(f"plug {i}", device.plug_again, "2 devices on vm", busid=busid, state="ATTACHED")
        follow(f"unplug {i}", device.unplug, "1 device on vm", busid=busid, state="GONE")
    follow("cut", lab.wire.cut, "No connection to", kind="link", state="DOWN")
    follow("heal", lab.wire.heal, "1 device on the way to vm", kind="link", state="UP")
    product.wait_attached(stays)
    follow("reboot", product.vm.reboot, "No connection to", kind="link", state="DOWN")
    product.wait_attached(stays, timeout=240)
    for name in ("page", "phone"):
        browser.heading(name, "It works: 1 device on vm", 60)
        assert browser.complaints(name) == []
    assert browser.place("phone") == place, "focus, scroll, what was unfolded, and the same page"
    print("\nthe later of two pages after the event: " + ", ".join(f"{what} {s * 1000:.0f} ms" for what, s in lags.items()))
    assert statistics.median(lags.values()) < 0.5


def test_a_product_string_of_markup_is_shown_as_text(product, owner):
    browser, _ = owner
    markup = "<img src=x onerror=alert(1)>"
    product.lab.plug("acm", "G1", product=markup)
    wait_until(lambda: markup in browser.text("page"), 60, "the name to be shown as it is", interval=0.2, lab=product.lab)
    assert browser.complaints("page") == []
    browser.shoot("page", "lab-6-markup")
