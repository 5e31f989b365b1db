"""
An image's health check, which also ends a program that is not well for long, so that its container is started again.

Docker marks a container as unhealthy and leaves it at that; it starts again what has ended. `python -IS
transcription/observability/restart_unwell.py CHECK` runs the script CHECK, whose exit status says whether the program
is well: 0, or `ALIVE` where it lives and a new start wouldn't mend it. Where it has failed otherwise for `UNWELL_S`,
the program gets SIGABRT (Python's handler writes where each thread is) and then SIGKILL, which ends even a process that
was stopped.

A program is process 1's child: a container needs an init (`init: true`), because the kernel keeps process 1 from being
killed from inside. Without one, nothing is ended. The check runs every few seconds: the standard library alone.
"""

import json
import os
import runpy
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

ALIVE = 3
UNWELL_S = 60.0
NEVER_WELL_S = 600.0
"""How long a program that has not been well yet may take to become it."""

DUMP_S = 0.5
"""How long it may take to write where its threads are."""

_INITS = frozenset(("docker-init", "tini", "tini-static", "dumb-init", "catatonit"))


def check(script: str) -> int:
    """The exit status of the check *script*."""
    before, sys.argv = sys.argv, [script]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # noqa: BLE001  whatever is wrong, the program isn't known to be well
        print(f"{type(error).__name__}: {error}")
        return 1
    finally:
        sys.argv = before
    return 0


def unwell_s(state: Path, *, well: bool, now: float) -> tuple[float, float]:
    """
    How long the program has not been well, by notes in *state*, and how long it may be so, in seconds.

    Args:
        state: A file of this container's, which is gone when it is started again.
        well: What the check has just said.
        now: A monotonic clock.
    """
    try:
        noted = json.loads(state.read_text("utf-8"))
        since, was_well = noted["since"], bool(noted["was_well"])
    except (OSError, ValueError, KeyError, TypeError):
        since, was_well = None, False
    was_well = was_well or well
    since = None if well else (since or now)
    with suppress(OSError):
        state.write_text(json.dumps({"since": since, "was_well": was_well}), encoding="utf-8")
    return (now - since if since else 0.0), (UNWELL_S if was_well else NEVER_WELL_S)


def programs(proc: Path = Path("/proc")) -> list[int]:
    """What process 1 has started, where that is an init: the program, and helpers that it has left behind."""
    try:
        if (proc / "1/comm").read_text("utf-8").strip() not in _INITS:
            return []
    except OSError:
        return []
    found = []
    for status in proc.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold anything.
            if status.read_text("utf-8").rpartition(")")[2].split()[1] == "1":
                found.append(int(status.parent.name))
    return found


def end(processes: list[int]) -> None:
    """Have *processes* say where they are, and kill them."""
    for number in (signal.SIGABRT, signal.SIGKILL):
        for process in processes:
            with suppress(OSError):
                os.kill(process, number)
        if number == signal.SIGABRT:
            time.sleep(DUMP_S)


def main() -> int:
    """Exit status 0 when the program is well, else 1."""
    script = sys.argv[1]
    state = Path(os.environ.get("TMPDIR") or "/tmp") / "murmur-health.json"  # noqa: S108
    status = check(script)
    seconds, most = unwell_s(state, well=status in (0, ALIVE), now=time.monotonic())
    if seconds >= most and (found := programs()):
        print(f"not well for {seconds:.0f} s: ended, to be started again")
        end(found)
    return int(status != 0)


if __name__ == "__main__":
    sys.exit(main())
