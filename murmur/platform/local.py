"""The whole platform on one machine: the ledger's server, workers and an API, as child processes."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from murmur.client.client import Client
from murmur.errors import CliError
from murmur.packages import ROOT as ROOT  # noqa: PLC0414  others take it from here
from murmur.platform import allocator, ledger_server
from murmur.platform.environment import exported
from murmur.platform.processes import Process, Program, Sink
from murmur.platform.supervisor import QUICK_DEATHS, Supervisor
from transcription.observability.cores import available
from transcription.observability.gpus import VISIBLE
from transcription.settings import Settings

API_GRACE_S = 4
WORKER_GRACE_S = 10.0
POLL_INTERVAL_S = 0.05
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A worker has a thread for each of its tasks; libraries would start as many again in each of them."""


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """
    How many workers, and where the platform listens.

    ``devices`` are GPUs and instances of GPUs, as CUDA_VISIBLE_DEVICES names them, which the workers take in turn;
    with none they see what this process sees.
    """

    workers: int = 1
    host: str = "127.0.0.1"
    port: int = 8000
    devices: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where clients on this machine find the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class LocalPlatform:
    """
    The platform's processes. Start it from the main thread, and call `restart_exited` often.

    Args:
        settings: For every process; whatever is set in them reaches the children through the environment.
        layout: How many workers, and where to listen.
        sink: Takes the children's lines.
        say: Takes the platform's own sentences.
        lock: Descriptor of the data directory's lock, which the ledger's server then holds too.
        deaths: Quick deaths in a row after which a child is given up.
        run: Makes a running process of the API's or a worker's program.
    """

    def __init__(
        self,
        settings: Settings,
        layout: PlatformConfig,
        *,
        sink: Sink,
        say: Callable[[str], None],
        lock: int | None = None,
        deaths: int = QUICK_DEATHS,
        run: Callable[[Program, Sink], Process] = Process,
    ) -> None:
        self.settings = settings
        self.layout = layout
        self.embedded = "url" not in settings.ledger.model_fields_set
        self._sink = ledger_server.without_advice(sink)
        self.supervisor = Supervisor(self._sink, say, deaths=deaths, run=run)
        self._lock = () if lock is None else (lock,)
        self._device_of: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where the API is."""
        return self.layout.url

    def start(self) -> None:
        """Start everything; it isn't ready yet. CliError: the ledger's server doesn't start."""
        if self.embedded:
            self._start_ledger()
        for slot in range(1, self.layout.workers + 1):
            self.start_worker(f"w{slot}")
        self.supervisor.start(self._api())

    def start_worker(self, name: str) -> Process:
        """
        Start one more worker.

        Args:
            name: Its node's name, and the slot's: a worker that starts again under the name of one that died gets the
                spans back that the other held.
        """
        return self.supervisor.start(self._worker(name))

    def restart_exited(self) -> None:
        """Start again what has died. CliError: something dies again and again."""
        self.supervisor.restart_exited()

    def until_ready(self, seconds: float) -> None:
        """Return when the platform can do work. CliError: not within *seconds*, or something dies again and again."""
        deadline = time.monotonic() + seconds
        with Client(self.url, timeout_s=2.0) as client:
            while not client.ready():
                self.restart_exited()
                self.supervisor.check_started()
                if time.monotonic() > deadline:
                    raise CliError(f"the platform isn't ready after {seconds:.0f} s", status=1)
                time.sleep(POLL_INTERVAL_S)

    def stop(self) -> None:
        """Stop the API, then the workers, which hand their spans back, then the ledger's server."""
        names = self.supervisor.names()
        self.supervisor.stop([name for name in names if name == "api"])
        self.supervisor.stop([name for name in names if name not in ("api", "ledger")])
        self.supervisor.stop([name for name in names if name == "ledger"])

    def _start_ledger(self) -> None:
        directory = self.settings.data_dir / "ledger"
        server = ledger_server.start(
            directory, self._sink, descriptors=self._lock, password=ledger_server.password_in(directory)
        )
        self.supervisor.adopt(server.process.program, server.process)
        parts = {"ledger": self.settings.ledger.model_copy(update={"url": SecretStr(server.url)})}
        self.settings = self.settings.model_copy(update=parts)

    def _api(self) -> Program:
        argv = [sys.executable, "-m", "api.main"]
        env = {"MURMUR_API__STOP_S": str(API_GRACE_S - 1)} | self._environment()
        return Program(name="api", argv=argv, env=env, grace_s=API_GRACE_S, directory=ROOT)

    def _worker(self, name: str) -> Program:
        argv = worker_argv(name)
        env = self._environment() | allocator.tunables(os.environ) | ONE_THREAD
        devices = self.layout.devices
        if devices:
            # A worker whose libraries can't use the device after all divides the cores with the others.
            env.setdefault("MURMUR_WORKER__HOST_WORKERS", str(self.layout.workers))
            env[VISIBLE] = self._device_of.setdefault(name, devices[len(self._device_of) % len(devices)])
        elif self.layout.workers > 1 and not self.settings.worker.model_workers:
            share = max(1, available() // self.layout.workers)
            env["MURMUR_WORKER__MODEL_WORKERS"] = str(share)
        return Program(name=name, argv=argv, env=env, grace_s=WORKER_GRACE_S, directory=ROOT, replaceable=True)

    def _environment(self) -> dict[str, str]:
        own = exported(self.settings)
        own["MURMUR_API__HOST"], own["MURMUR_API__PORT"] = self.layout.host, str(self.layout.port)
        return own | {"PYTHONUNBUFFERED": "1"}


def worker_argv(name: str) -> list[str]:
    """The command that is a worker called *name*."""
    # On one's own machine one may be root, as in most containers.
    python = [sys.executable, "-W", "ignore:You're running the worker with superuser privileges"]
    return [*python, "-m", "celery", "--quiet", "-A", "worker.app", "worker", "-n", f"{name}@%h"]
