"""The fixture `lab`: both machines up, our packages installed, for a whole session.

USBPUSH_PI_DEB, USBPUSH_VM_DEB   the packages; without them the guests stay bare
USBPUSH_LAB_DIR                  which lab (/run/usbpush-lab); with pytest -n 2 each process has one of its own
USBPUSH_LAB_KEEP=1               leave it running at the end
USBPUSH_LAB_REUSE=1              join one that runs, with what is installed in it
"""
import contextlib
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import turns  # noqa: E402
from product import Product  # noqa: E402
from usbpush_lab import Lab, LabError, image  # noqa: E402

LAST_WORDS = {
    "journal": "journalctl -b --no-pager -o short-monotonic | tail -n 150",
    "dmesg": "dmesg | tail -n 60",
    "processes": "ps -eo pid,ppid,user,stat,etimes,rss,args --forest | grep -v '\\]$'",
}


# What a guest is where --pi-suite, --pi-arch, --vm-suite, --vm-arch say so.
KIND_OF = {"pi": {}, "vm": {}}

# Stories about the lab itself: told with --thorough (tests/run --thorough).
THOROUGH = {"test_lab.py"}


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="also " + ", ".join(sorted(THOROUGH)))
    for name in KIND_OF:
        parser.addoption(f"--{name}-suite", choices=list(image.SUITES), help=f"the Debian of {name}; its package must be one for that")
        parser.addoption(f"--{name}-arch", choices=list(image.ARCHS), help=f"the processor of {name}; its package must be one for that")


def pytest_ignore_collect(collection_path, config):
    is_named = any(str(a).split("::")[0].endswith(collection_path.name) for a in config.args)
    if collection_path.name in THOROUGH and not config.getoption("--thorough") and not is_named:
        return True


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: measures time; nothing else runs meanwhile")
    config.addinivalue_line("markers", "spine: plug, unplug, reboot and cut, which each Debian and each processor has to pass (-m spine --pi-suite trixie --pi-arch arm64)")
    for name, kind in KIND_OF.items():
        said = {what: config.getoption(f"--{name}-{what}") for what in ("suite", "arch")}
        kind.update({what: value for what, value in said.items() if value})
    if turns.is_side_by_side():
        os.environ["USBPUSH_LAB_DIR"] = turns.lab_dir()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    with turns.turn(item.get_closest_marker("alone") is not None) if turns.is_side_by_side() else contextlib.nullcontext():
        yield


def is_set(name):
    return os.environ.get(name, "") not in ("", "0")


def install_packages(lab):
    for guest, name in ((lab.pi, "USBPUSH_PI_DEB"), (lab.vm, "USBPUSH_VM_DEB")):
        package = os.environ.get(name)
        if package:
            guest.install(package)


@pytest.fixture(scope="session")
def lab():
    a_lab = Lab()
    if is_set("USBPUSH_LAB_REUSE") and a_lab.is_up():
        a_lab.up()
    else:
        a_lab.up(fresh=True, kinds=KIND_OF)
        install_packages(a_lab)
    yield a_lab
    if not is_set("USBPUSH_LAB_KEEP"):
        a_lab.down()


@pytest.fixture
def clean_lab(lab):
    """The lab with whole cables, both machines on, and nothing plugged in, before and after."""
    put_right(lab)
    yield lab
    put_right(lab)


@pytest.fixture(scope="session")
def paired_lab(lab):
    """The lab with both sides paired, as the README does it."""
    product = Product(lab)
    if product.link().get("state") in (None, "UNPAIRED"):
        product.pair()
    return product


@pytest.fixture
def product(paired_lab):
    """usbpush, paired and up, with nothing plugged in, before and after."""
    put_right(paired_lab.lab)
    paired_lab.wait_link("UP")
    paired_lab.wait_nothing_attached()
    yield paired_lab
    put_right(paired_lab.lab)


def put_right(lab):
    lab.wire.heal()
    for guest in lab.guests():
        if not guest.is_on():
            guest.power_on(wait=False)
        guest.bring_round()
        if guest.has_slept():
            guest.reboot(wait=False)
    for guest in lab.guests():
        guest.wait_ready()
    lab.unplug_all()


def lab_of(fixtures):
    product = fixtures.get("product") or fixtures.get("paired_lab")
    return product.lab if product else fixtures.get("lab")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    a_lab = lab_of(getattr(item, "funcargs", {}))
    if not report.failed or a_lab is None:
        return
    for guest in (a_lab.pi, a_lab.vm):
        for title, command in LAST_WORDS.items():
            try:
                text = str(guest.sh(command, check=False, timeout=30))
            except LabError as e:
                text = f"{e}\n{guest.console(60) if title == 'dmesg' and a_lab.is_up() else ''}"
            report.sections.append((f"{guest.name}: {title}", text))
