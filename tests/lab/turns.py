"""Stories that measure time are told alone: where several labs run side by side (pytest -n 2), nobody else tells one meanwhile."""
import contextlib
import fcntl
import os
import pathlib

LOCKS = pathlib.Path("/run/lock")


def is_side_by_side():
    return "PYTEST_XDIST_WORKER" in os.environ


def lab_dir():
    """The lab of this one of several processes."""
    return f"/run/usbpush-lab-{os.environ['PYTEST_XDIST_WORKER']}"


@contextlib.contextmanager
def turn(is_alone):
    """Waits until it is this story's turn. Who waits to be alone lets nobody pass: the queue is one lock, the turn another."""
    run = os.environ["PYTEST_XDIST_TESTRUNUID"]
    with open(LOCKS / f"usbpush-lab-{run}.queue", "w") as queue, open(LOCKS / f"usbpush-lab-{run}.turn", "w") as its_turn:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(its_turn, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
