"""The platform's parts as processes on given cores: Valkey, API, a worker with a stub engine, nginx, the bare app."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from redis import Redis

from murmur.platform import ledger_server
from murmur.platform.local import worker_argv
from tests.edge import Names, edge

SERVING_CORE, OTHER_CORE = 0, 1
START_S = 60.0
FILES = 65_536
BARE_KEY = "bare:job"


@dataclass(slots=True)
class Service:
    """A process that serves HTTP, and what stands before it."""

    process: psutil.Process
    port: int
    edge_url: str = ""

    @property
    def url(self) -> str:
        """Where it is, without nginx."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """Seconds on the processors of the process and of all that it started, ended ones included."""
        own = self.process.cpu_times()
        times = [own, *(one.cpu_times() for one in self.process.children(recursive=True))]
        return sum(one.user + one.system for one in times) + own.children_user + own.children_system

    def rss_bytes(self) -> int:
        """Resident memory of the API's own processes; those that probe recordings are not counted."""
        return sum(one.memory_info().rss for one in self._api())

    def descriptors(self) -> int:
        """Open files of the same."""
        return sum(one.num_fds() for one in self._api())

    def _api(self) -> list[psutil.Process]:
        return [one for one in (self.process, *self.process.children()) if "transcription.media" not in _command(one)]


@dataclass(slots=True, kw_only=True)
class Stack:
    """What runs."""

    redis: Redis
    redis_url: str
    directory: Path
    api: Service
    bare: Service
    worker: psutil.Process | None = None
    settings: dict[str, str] = field(default_factory=dict)


@contextmanager
def running(
    directory: Path, *, worker: bool = False, through_nginx: bool = False, processes: int = 1, **settings: str
) -> Iterator[Stack]:
    """
    Start everything, each on its core: the API and the bare app on one, all others on the other.

    Args:
        directory: Where data lies.
        worker: Whether a real worker with a stub engine runs.
        through_nginx: Whether nginx stands before the API and before the bare app too.
        processes: Of the API; several use both cores.
        settings: Further ones of the platform, as ``API__POLL_LOG_SHARE="1"``.
    """
    allow_files()
    with ExitStack() as stack:
        ledger = ledger_server.start(directory / "ledger", lambda *_: None)
        stack.callback(ledger.process.stop)
        pin(ledger.process.pid, OTHER_CORE)
        redis = Redis.from_url(ledger.url, decode_responses=True)
        # As many fields, of the same length, as a look at a job brings.
        redis.hset(BARE_KEY, mapping={f"field-{number}": "x" * 24 for number in range(24)})
        own = {
            "MODEL": "demo",
            "DATA_DIR": str(directory),
            "LEDGER__URL": ledger.url,
            "LIMITS__MIN_FREE_DISK_BYTES": "0",
            "LIMITS__MAX_MEMORY_PERCENT": "100",
            "WORKER__ENGINE": "bench.load.stub_engine:load",
            "WORKER__MODEL_WORKERS": "1",
            **settings,
        }
        environment = os.environ | {f"MURMUR_{name}": value for name, value in own.items()}
        started = Stack(
            redis=redis,
            redis_url=ledger.url,
            directory=directory,
            api=_api(stack, environment, processes),
            bare=_bare(stack, environment, ledger.url, directory),
            settings=own,
        )
        if through_nginx:
            for service, name in ((started.api, "api"), (started.bare, "bare")):
                service.edge_url = _edge(stack, directory / f"edge-{name}", service.port)
        if worker:
            started.worker = _worker(stack, environment, started.api.url)
        yield started


def allow_files() -> None:
    """Let this process, and what it starts, have as many open files as thousands of clients need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def pin(pid: int, *cores: int) -> None:
    """Keep a process, with every thread that it has by now, on *cores*, where the machine has that many."""
    there = [core for core in cores if core < (os.cpu_count() or 1)]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            os.sched_setaffinity(int(thread.name), there or {0})


def on(cores: Sequence[int], argv: list[str]) -> list[str]:
    """*argv*, kept on *cores*, where the machine has that many."""
    there = [core for core in cores if core < (os.cpu_count() or 1)] or [0]
    return ["taskset", "-c", ",".join(map(str, there)), *argv]


def until(condition: Callable[[], bool], what: str, within_s: float = START_S) -> None:
    """Wait for *condition*, called *what* where it doesn't come."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {within_s:g} s: {what}")
        time.sleep(0.05)


def _api(stack: ExitStack, environment: dict[str, str], processes: int) -> Service:
    port = ledger_server.free_port()
    told = environment | {"MURMUR_API__PORT": str(port), "MURMUR_API__PROCESSES": str(processes)}
    cores = [SERVING_CORE] if processes == 1 else [SERVING_CORE, OTHER_CORE]
    process = _process(stack, on(cores, [sys.executable, "-m", "api.main"]), told)
    service = Service(psutil.Process(process.pid), port)
    until(lambda: _answers(f"{service.url}/health/live"), "the API answers")
    return service


def _bare(stack: ExitStack, environment: dict[str, str], redis_url: str, directory: Path) -> Service:
    port = ledger_server.free_port()
    disk = directory / "bare"
    disk.mkdir()
    argv = [sys.executable, "-m", "uvicorn", "bench.load.bare:app", "--port", str(port)]
    argv += ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
    told = environment | {"BARE_REDIS": redis_url, "BARE_DISK": str(disk)}
    process = _process(stack, on([SERVING_CORE], argv), told)
    service = Service(psutil.Process(process.pid), port)
    until(lambda: _answers(f"{service.url}/plain"), "the bare app answers")
    return service


def _worker(stack: ExitStack, environment: dict[str, str], api_url: str) -> psutil.Process:
    process = _process(stack, on([OTHER_CORE], worker_argv("load")), environment)
    until(lambda: httpx.get(f"{api_url}/health/ready").status_code == 200, "a worker is ready")
    return psutil.Process(process.pid)


def _edge(stack: ExitStack, run: Path, port: int) -> str:
    run.mkdir()
    names = stack.enter_context(Names())
    names.addresses = ["127.0.0.1"]
    many = {"MURMUR_EDGE_REQUESTS_PER_S": "1000000", "MURMUR_EDGE_BURST": "1000000"}
    front = stack.enter_context(edge(run, names=names, port=port, MURMUR_EDGE_CONNECTIONS="20000", **many))
    for process in psutil.process_iter(["cmdline"]):
        if str(run) in " ".join(process.info["cmdline"] or ()):
            for one in (process, *process.children(recursive=True)):
                pin(one.pid, OTHER_CORE)
    return front.url


def _process(stack: ExitStack, argv: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url).status_code == 200
    return False


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
