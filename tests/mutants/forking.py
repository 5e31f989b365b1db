"""
Runs pytest again and again in the current directory, each time in a fork.

What takes long to import, and isn't ours, is imported once. A request is a line of JSON on standard input, with
`tests` and the `seconds` that they may take; the answer a line on standard output: `status` and what was `said`.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pytest

LIBRARIES = (
    "aiofiles", "anyio", "av", "celery.app", "fastapi", "fastapi_offline", "httpx", "kombu.transport.redis", "numpy",
    "prometheus_client", "psutil", "pydantic_settings", "redis.asyncio", "slowapi", "structlog", "typer", "uvicorn",
    "yaml",
)  # fmt: skip
# No plugin but those that end what hangs and run coroutines: some take a second to import.
FLAGS = (
    "-q", "-x", "-p", "pytest_timeout", "-p", "anyio.pytest_plugin", "-p", "no:cacheprovider", "--no-header",
    "--tb=line", "--keep-duplicates",
)  # fmt: skip
HUNG = 1


def main() -> None:
    """Answer requests until there are no more."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.NamedTemporaryFile("r", prefix="said-", errors="replace") as said:
            status = fork(request["tests"], Path(said.name), request["seconds"])
            print(json.dumps({"status": status, "said": said.read()}), flush=True)


def fork(tests: list[str], said: Path, seconds: float) -> int:
    """Run *tests* in a child whose output goes to *said*; pytest's exit status. A child that hangs is killed."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        target = os.open(said, os.O_WRONLY)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(target, 1)
        os.dup2(target, 2)
        status = 99
        try:
            status = int(pytest.main([*FLAGS, *tests]))
        except BaseException:  # noqa: BLE001 - the parent tells what it was
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _end(pid)
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else HUNG
        time.sleep(0.05)
    _end(pid)
    os.waitpid(pid, 0)
    return HUNG


def _end(group: int) -> None:
    """Whatever the child has started and not ended goes with it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    main()
