"""The ledger's server for one machine: Valkey or Redis, with its append-only file in the data directory."""

import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from murmur.errors import CliError
from murmur.platform.ledger_binary import find_binary, remember
from murmur.platform.processes import Process, Program, Sink

START_S = 60.0
ADVICE = ("Memory overcommit", "Transparent Huge Pages", "TCP backlog setting")
ATTEMPTS = 3
PORT_FILE = "port"
PASSWORD_FILE = "password"  # noqa: S105  a file's name
CONFIG_FILE = "server.conf"


@dataclass(frozen=True, slots=True)
class LedgerServer:
    """A server that runs, and where it listens."""

    process: Process
    port: int
    password: str = ""

    @property
    def url(self) -> str:
        """What clients connect to."""
        return address(self.port, self.password)


def address(port: int, password: str = "") -> str:
    """The URL of an embedded server; *password* needs no escapes."""
    return f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0"


def password_in(directory: Path) -> str:
    """The password of the server in *directory*, made if there is none: other users of this machine may not ask it."""
    directory.mkdir(parents=True, exist_ok=True)
    # What an earlier version left there could be read by everybody.
    directory.chmod(0o700)
    file = directory / PASSWORD_FILE
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            opened.write(secrets.token_hex(32))
    return file.read_text().strip()


def running_in(directory: Path) -> str | None:
    """The URL of the server that was last started in *directory*; None where none ever was."""
    try:
        password = directory / PASSWORD_FILE
        return address(int((directory / PORT_FILE).read_text()), password.read_text() if password.exists() else "")
    except (OSError, ValueError):
        return None


def server_program(
    directory: Path, port: int, *, name: str = "ledger", descriptors: tuple[int, ...] = (), password: str = ""
) -> Program:
    """
    Describe the server's process.

    Args:
        directory: Where its append-only file lies; made if it isn't there.
        port: Where it listens on the loopback address.
        name: What its log lines are prefixed with.
        descriptors: Open files that it holds for as long as it runs: the data directory's lock.
        password: What it asks clients for; empty: nothing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Nothing here is newer than Redis 6: a server on PATH may be that old.
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
        # Everything that waits for a job keeps a connection.
        "maxclients": "10000",
        # A job's events are a few hundred bytes, and a stream takes this much at once: 4 kB by default.
        "stream-node-max-bytes": "512",
    }
    argv = [str(find_binary(directory))]
    if password:
        # Not an argument: everybody sees those.
        config = directory / CONFIG_FILE
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"requirepass {password}\n")
        argv.append(str(config))
    for key, value in options.items():
        argv += [f"--{key}", value]
    return Program(name=name, argv=argv, last_signal=SIGTERM, grace_s=10.0, descriptors=descriptors)


def start(directory: Path, sink: Sink, *, descriptors: tuple[int, ...] = (), password: str = "") -> LedgerServer:
    """
    Start a server on a free port, and return when it answers.

    Raises:
        CliError: it doesn't start; the message has its last words. Or none can read the files that are there.
    """
    output: list[str] = []

    def listen(name: str, line: str) -> None:
        output.append(line)
        del output[:-20]
        sink(name, line)

    for _ in range(ATTEMPTS):
        # Between finding the port and listening on it, another process may take it.
        port = free_port()
        program = server_program(directory, port, descriptors=descriptors, password=password)
        process = Process(program, listen)
        if wait_ready(address(port, password), process, seconds=START_S):
            (directory / PORT_FILE).write_text(str(port))
            remember(directory, program.argv[0])
            return LedgerServer(process, port, password)
        process.stop()
        if not any("bind" in line.lower() for line in output):
            break
    last = next((line for line in reversed(output) if line), "it said nothing")
    raise CliError(f"the ledger's server didn't start in {directory}: {last}")


def without_advice(sink: Sink) -> Sink:
    """A sink that leaves out what the server says at every start about the kernel of a server farm."""

    def take(name: str, line: str) -> None:
        if not any(advice in line for advice in ADVICE):
            sink(name, line)

    return take


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_ready(url: str, process: Process | None, *, seconds: float) -> bool:
    """Whether the server answers within *seconds*; not while it loads its file, and not once *process* has ended."""
    deadline = time.monotonic() + seconds
    with Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)) as redis:
        while time.monotonic() < deadline and (process is None or process.poll() is None):
            try:
                if redis.ping():
                    return True
            except RedisError:
                time.sleep(0.02)
    return False
