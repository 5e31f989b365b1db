"""
A worker's heartbeat file, and whether it says that the worker is well: the image's health check asks it.

The thread that renews leases writes the file; `python -IS worker/health_check.py [NAME]` reads it. A worker in
quarantine isn't well (see `health/quarantine.py`), but lives; `--alive` asks for the heartbeat alone, since starting a
worker again mends no storage. An outage of the ledger stops no heartbeat. The check runs every few seconds beside a
busy model, so it uses the standard library alone: 30 ms instead of the second that Celery takes to import.
"""

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

LATE_S = 60.0
ALIVE = 3
"""The exit status of one that lives and isn't well, as transcription/observability/restart_unwell.py knows it."""


def heartbeat_file(name: str) -> Path:
    """Where the worker of that name writes: in the host's folder for temporary files, which every container has."""
    return temporary_folder() / f"murmur-{name.replace('/', '_')}.heartbeat"


def temporary_folder() -> Path:
    """The host's folder for temporary files."""
    return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


def beat(name: str, *, quarantine: str = "") -> None:
    """Say that the worker lives, by the clock that all processes of a host share. OSError."""
    path = heartbeat_file(name)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)  # whoever else may write here mustn't lead us to another file
    with part.open("x", encoding="utf-8") as file:
        json.dump({"at": time.monotonic(), "quarantine": quarantine}, file)
    part.replace(path)


def end(name: str) -> None:
    """Take the file away: the worker has left."""
    with suppress(OSError):
        heartbeat_file(name).unlink(missing_ok=True)


def main() -> int:
    """Exit status 1 when the worker hasn't written for a minute, `ALIVE` when it is in quarantine."""
    words = [word for word in sys.argv[1:] if word != "--alive"]
    name = words[0] if words else f"worker@{socket.gethostname()}"
    try:
        found = json.loads(heartbeat_file(name).read_text("utf-8"))
        age_s, quarantine = time.monotonic() - float(found["at"]), str(found["quarantine"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{name}: no heartbeat yet ({type(error).__name__})")
        return 1
    if age_s < 0:
        print(f"{name}: no heartbeat since this host was started")
        return 1
    print(f"{name}: last heartbeat {age_s:.0f} s ago")
    if quarantine:
        print(f"{name}: in quarantine: {quarantine}")
    if age_s > LATE_S:
        return 1
    return ALIVE if quarantine and "--alive" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
