"""A platform to be broken: a ledger server, two APIs and three workers, each a process that can be killed by itself."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
from redis import Redis
from redis.exceptions import RedisError

from murmur.platform.ledger_server import address, server_program
from murmur.platform.local import LocalPlatform, PlatformConfig
from murmur.platform.processes import Process
from tests.free_port import free_port
from tests.platform import eventually
from tests.warm import start as warm
from transcription.settings import Lease, Limits, Settings, Worker

APIS = ("api1", "api2")
WORKERS = ("w1", "w2", "w3")


class Flock:
    """Start it in a `with`; the test's thread must be the one that starts processes."""

    def __init__(
        self,
        directory: Path,
        *,
        lease: Lease,
        engine: str = "tests.chaos.stub_engine:load",
        window_s: float = 0.05,
        workers: tuple[str, ...] = WORKERS,
        apis: tuple[str, ...] = APIS,
        env: dict[str, dict[str, str]] | None = None,
        **worker: object,
    ) -> None:
        self.workers, self.apis = workers, apis
        self.env = env or {}
        self.lines: list[str] = []
        self.ledger_port = free_port()
        self.ports = {name: free_port() for name in apis}
        self.settings = Settings(
            model="demo",
            data_dir=directory,
            ledger={"url": address(self.ledger_port)},
            lease=lease,
            limits=Limits(max_memory_percent=100, min_free_disk_bytes=0),
            worker=Worker.model_validate({"slots": 4, "span_s": 60, "engine": engine, "model_workers": 1, **worker}),
        )
        self.directory, self.temporary = directory, directory / "tmp"
        self._window_s = window_s
        self.processes: dict[str, Process] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Flock":
        for name in ("ledger", *self.workers, *self.apis):
            self.start(name)
        eventually(lambda: all(self.ready(name) for name in self.apis), 60)
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*self.apis, *self.workers, "ledger"):
            self.processes[name].kill()
            self.processes[name].wait(5)

    def start(self, name: str) -> None:
        """Start, or start again, one process."""
        if name == "ledger":
            program = server_program(self.directory / "ledger", self.ledger_port)
        else:
            layout = PlatformConfig(port=self.ports.get(name, 0))
            local = LocalPlatform(self.settings, layout, sink=self._keep, say=print)
            program = local._api() if name in self.apis else local._worker(name)
        # A flock of another test has workers of the same names on this host.
        self.temporary.mkdir(parents=True, exist_ok=True)
        own = {"STUB_WINDOW_S": str(self._window_s), "TMPDIR": str(self.temporary), **self.env.get(name, {})}
        program = replace(program, env={**program.env, **own})
        self.processes[name] = warm.running(program, self._keep)

    def restart_exited(self) -> None:
        """Start again the workers that have died, as a supervisor would."""
        for name in self.workers:
            if self.processes[name].poll() is not None:
                self.start(name)

    def kill(self, name: str) -> float:
        """SIGKILL; returns when, in Unix seconds. The ledger's server is killed when it has written what it took."""
        if name == "ledger":  # while its disk is busy it holds writes back for up to two seconds, and answers
            with self.redis() as redis:
                eventually(lambda: redis.info("persistence")["aof_buffer_length"] == 0)
        at = time.time()
        self.processes[name].kill()
        self.processes[name].wait(5)
        return at

    def signal(self, name: str, what: signal.Signals) -> None:
        os.kill(self.processes[name].pid, what)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def live(self, name: str) -> bool:
        """Whether an API answers at all."""
        try:
            return httpx.get(f"{self.url(name)}/health/live", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def ready(self, name: str) -> bool:
        try:
            return httpx.get(f"{self.url(name)}/health/ready", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def redis(self) -> Redis:
        return Redis.from_url(address(self.ledger_port), decode_responses=True)

    def ledger_answers(self) -> bool:
        try:
            with self.redis() as redis:
                return bool(redis.ping())
        except RedisError:
            return False

    def _keep(self, name: str, line: str) -> None:
        with self._lock:
            self.lines.append(f"{time.time():.3f} {name:<7}| {line}")


class Client:
    """A client as people write them: it tries again, at another API, with the same idempotency key."""

    def __init__(self, flock: Flock) -> None:
        self._flock = flock
        self._http = httpx.Client(timeout=20)
        self._turn = 0

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, *, within_s: float = 90, **how: object) -> httpx.Response:
        deadline = time.monotonic() + within_s
        while True:
            self._turn += 1
            name = self._flock.apis[self._turn % len(self._flock.apis)]
            try:
                answer = self._http.request(method, self._flock.url(name) + path, **how)  # type: ignore[arg-type]
                if answer.status_code != 503:
                    return answer
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, f"{method} {path} got no answer within {within_s} s"
            time.sleep(0.2)

    def submit(self, audio: bytes, *, key: str, **options: str) -> str:
        answer = self.request(
            "POST",
            "/v1/jobs",
            files={"file": ("chaos.wav", audio)},
            data={"vad_filter": "false", "language": "en", **options},
            headers={"Idempotency-Key": key},
        )
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str, *, wait: float = 0) -> dict[str, object]:
        answer = self.request("GET", f"/v1/jobs/{job_id}", params={"wait": wait} if wait else {})
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    def text(self, job_id: str) -> str:
        return str(self.request("GET", f"/v1/jobs/{job_id}/result", params={"format": "json"}).json()["text"])

    def cancel(self, job_id: str) -> int:
        return self.request("POST", f"/v1/jobs/{job_id}/cancel").status_code
