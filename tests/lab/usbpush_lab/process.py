"""Processes the lab starts: they die with it, and can be found again if they don't."""
import asyncio
import json
import os
import pathlib
import signal
import time


def start_time_of(pid):
    """When this pid's process began, in clock ticks; None when there is none.

    With the pid it names a process for good: a pid alone may be somebody else's by now.
    """
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def note_process(state_dir, pid):
    with open(pathlib.Path(state_dir) / "pids", "a") as f:
        f.write(json.dumps([pid, start_time_of(pid)]) + "\n")


def noted_processes(state_dir):
    """The processes this lab has started and that still run."""
    try:
        lines = (pathlib.Path(state_dir) / "pids").read_text().splitlines()
    except OSError:
        return []
    noted = []
    for line in lines:
        try:
            pid, began = json.loads(line)
        except ValueError:
            continue  # the line the power went out in
        if began is not None and start_time_of(pid) == began:
            noted.append(pid)
    return noted


def end_noted_processes(state_dir, patience=5.0):
    """Ends them, but not the caller, and waits until they are gone."""
    limit = time.monotonic() + patience
    while others := [pid for pid in noted_processes(state_dir) if pid != os.getpid()]:
        for pid in others:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if time.monotonic() > limit:
            raise RuntimeError(f"lab: processes {others} don't end")
        time.sleep(0.02)


async def start_process(state_dir, *argv, **kwargs):
    """Starts a child that is killed when the supervisor ends, however it ends. It goes
    before a build that runs beside it: a machine's time should not depend on that."""
    child = await asyncio.create_subprocess_exec(
        "nice", "-n", "-5", "setpriv", "--pdeathsig", "KILL", *[str(a) for a in argv], start_new_session=True, **kwargs)
    note_process(state_dir, child.pid)
    return child
