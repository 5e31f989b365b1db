"""The worker as a launchd agent: macOS starts it at login, and again when it dies."""

import os
import plistlib
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from murmur.errors import CliError
from murmur.platform.local import ROOT

LABEL = "io.murmuration.worker"
END_S = 40.0
POLL_INTERVAL_S = 0.2
_PACKAGED = Path(__file__).with_name(f"{LABEL}.plist")  # a wheel brings it along
TEMPLATE = _PACKAGED if _PACKAGED.is_file() else ROOT / "deploy" / "macos" / f"{LABEL}.plist"


def property_list(arguments: Sequence[str], env: Mapping[str, str], *, directory: Path, log: Path) -> bytes:
    """
    Fill the template.

    Args:
        arguments: The program.
        env: Its variables; there may be secrets among them.
        directory: Where it runs.
        log: Where it writes. What it can't write there, a crash at the start, goes to `.err` beside it.
    """
    agent = plistlib.loads(TEMPLATE.read_bytes())
    agent["ProgramArguments"] = list(arguments)
    agent["EnvironmentVariables"] |= env
    agent["WorkingDirectory"] = str(directory)
    agent["StandardOutPath"] = agent["StandardErrorPath"] = str(log.with_suffix(".err"))
    return plistlib.dumps(agent)


def install(plist: bytes) -> Path:
    """Give *plist* to launchd, in place of an earlier one; where it lies. CliError."""
    _end()
    agent = plistlib.loads(plist)
    Path(agent["StandardErrorPath"]).parent.mkdir(parents=True, exist_ok=True)
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    # Nobody else may read the ledger's password.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(plist)
    _launchctl("bootstrap", f"gui/{os.getuid()}", str(path))
    return path


def uninstall() -> Path:
    """Stop the service and delete its file; where that lay. CliError."""
    _end()
    _path().unlink(missing_ok=True)
    return _path()


def status() -> tuple[bool, str]:
    """Whether the service runs, and that in words. CliError."""
    received = _launchctl("print", _target(), missing_is_fine=True)
    if received is None:
        return False, f"{LABEL} isn't installed"
    facts = dict(line.strip().split(" = ", 1) for line in received.splitlines() if " = " in line)
    state = facts.get("state", "unknown")
    pid = f", pid {facts['pid']}" if "pid" in facts else ""
    return state == "running", f"{LABEL}: {state}{pid}"


def _end() -> None:
    """Stop the service; launchd has forgotten it when this returns, and takes another of its name. CliError."""
    deadline = time.monotonic() + END_S
    _launchctl("bootout", _target(), missing_is_fine=True)
    while _launchctl("print", _target(), missing_is_fine=True) is not None:
        if time.monotonic() > deadline:
            raise CliError(f"{LABEL} doesn't end within {END_S:g} s", status=1)
        time.sleep(POLL_INTERVAL_S)


def _path() -> Path:
    return Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def _target() -> str:
    return f"gui/{os.getuid()}/{LABEL}"


def _launchctl(*words: str, missing_is_fine: bool = False) -> str | None:
    program = shutil.which("launchctl")
    if program is None:
        raise CliError("launchd is macOS's, and isn't here; on Linux the containers' worker does the same")
    done = subprocess.run([program, *words], check=False, capture_output=True, text=True)  # noqa: S603  macOS's own
    if done.returncode == 0:
        return done.stdout
    if missing_is_fine:
        return None
    raise CliError(f"launchctl {words[0]} failed: {done.stderr.strip() or done.returncode}", status=1)
