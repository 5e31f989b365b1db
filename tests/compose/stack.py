"""The compose stack as an operator has it: brought up once, asked through nginx, broken on purpose."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from murmur.client.client import Client
from murmur.client.errors import ApiError
from tests.free_port import free_port
from tests.platform import eventually

ROOT = Path(__file__).parents[2]
PROJECT = os.environ.get("TEST_COMPOSE_PROJECT", "murmuration-test")
PASSWORD = "for the tests alone"


def engine_answers() -> bool:
    """Whether there is a Docker engine with Compose."""
    if shutil.which("docker") is None:
        return False
    return all(
        subprocess.run(["docker", *words], check=False, capture_output=True).returncode == 0
        for words in (["info"], ["compose", "version"])
    )


class Stack:
    """One compose project with settings of its own."""

    def __init__(self, **settings: str) -> None:
        port = free_port()
        self.root = ROOT
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MURMUR_")},
            "COMPOSE_PROJECT_NAME": PROJECT,
            # Nobody's .env counts here.
            "COMPOSE_ENV_FILES": os.devnull,
            "MURMUR_HTTP_PORT": str(port),
            "MURMUR_MODEL": "demo",
            "MURMUR_OPERATOR_PASSWORD": PASSWORD,
            "MURMUR_EDGE_REQUESTS_PER_S": "10000",
            "MURMUR_WORKER_CPUS": "1",
            **settings,
        }

    def compose(self, *words: str, timeout_s: float = 120) -> str:
        """Run `docker compose` with these words; its output."""
        return self._run("docker", "compose", *words, timeout_s=timeout_s)

    def script(self, *words: str, timeout_s: float = 300) -> str:
        """Run one of the project's own scripts against this stack."""
        return self._run(*words, timeout_s=timeout_s)

    @contextmanager
    def told(self, **variables: str) -> Iterator[None]:
        """Have other settings for a while."""
        before = self.environment
        self.environment = before | variables
        try:
            yield
        finally:
            self.environment = before

    def keep(self, **variables: str) -> None:
        """Write settings into the stack's file of variables, as an operator does."""
        file = Path(self.environment["COMPOSE_ENV_FILES"])
        others = [line for line in file.read_text("utf-8").splitlines() if line.partition("=")[0] not in variables]
        file.write_text("\n".join([*others, *(f"{name}={value}" for name, value in variables.items()), ""]), "utf-8")

    def refused(self, *words: str) -> str:
        """What `docker compose` writes when it fails with these words, as it must."""
        try:
            said = self.compose(*words)
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"docker compose {' '.join(words)}: no failure\n{said}")

    def host(self) -> str:
        """The address at which containers find this machine."""
        (network,) = json.loads(self._run("docker", "network", "inspect", f"{PROJECT}_outside"))
        address: str = network["IPAM"]["Config"][0]["Gateway"]
        return address

    def containers(self, service: str) -> list[str]:
        """Ids of the running containers of *service*, the oldest name first."""
        return self.compose("ps", "-q", service).split()

    def inspect(self) -> dict[str, dict[str, Any]]:
        """What the engine knows of every container, by its name."""
        ids = self.compose("ps", "-q").split()
        found = json.loads(self._run("docker", "inspect", *ids))
        return {container["Name"].removeprefix(f"/{PROJECT}-"): container for container in found}

    def scale(self, **counts: int) -> None:
        """Run so many containers of each service, while the others go on."""
        flags = [word for name, count in counts.items() for word in ("--scale", f"{name}={count}")]
        self.compose("up", "-d", "--no-recreate", "--no-build", *self._kept(counts), *flags)

    def _kept(self, counts: Mapping[str, int]) -> list[str]:
        """What the other scalable service has now: `up` would bring it back to what the file says."""
        others = {"api", "worker"} - set(counts)
        return [word for name in others for word in ("--scale", f"{name}={len(self.containers(name))}")]

    def healthy(self, service: str) -> int:
        """How many containers of *service* are."""
        found = self._run("docker", "inspect", "-f", "{{.State.Health.Status}}", *self.containers(service))
        return found.split().count("healthy")

    def kill(self, container: str) -> None:
        """SIGKILL."""
        self._run("docker", "kill", container)

    def start(self, container: str) -> None:
        """Start a container again that was killed."""
        self._run("docker", "start", container)

    def client(self, **how: Any) -> Client:
        """A client through nginx."""
        return Client(self.url, **how)

    def workers(self) -> int:
        """How many workers live, as the API says."""
        count: int = httpx.get(f"{self.url}/health", timeout=10).json()["workers"]
        return count

    def prometheus(self, path: str) -> Any:
        """Ask Prometheus, which nobody outside can reach, from inside its container."""
        return self._inside("prometheus", f"http://127.0.0.1:9090/api/v1/{path}")["data"]

    def alerts(self) -> dict[str, str]:
        """The states of Prometheus' alerts that aren't silent: `pending` or `firing`."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in self.prometheus("alerts")["alerts"]}

    def firing(self) -> set[str]:
        """The alerts that fire in Prometheus."""
        return {name for name, state in self.alerts().items() if state == "firing"}

    def alerted(self) -> set[str]:
        """The alerts that have reached Alertmanager and would go out to somebody."""
        alerts = self._inside("alertmanager", "http://127.0.0.1:9093/api/v2/alerts?active=true")
        return {alert["labels"]["alertname"] for alert in alerts}

    def _inside(self, service: str, url: str) -> Any:
        return json.loads(self.compose("exec", "-T", service, "wget", "-q", "-O", "-", url))

    def settled(self) -> bool:
        """Whether the stack is whole: two API replicas and a worker answer through nginx."""
        with suppress(httpx.TransportError, KeyError, ValueError, subprocess.CalledProcessError):
            return self.workers() >= 1 and httpx.get(f"{self.url}/health/ready", timeout=10).is_success
        return False

    def _run(self, *words: str, timeout_s: float = 120) -> str:
        done = subprocess.run(
            words, cwd=ROOT, env=self.environment, check=False, capture_output=True, text=True, timeout=timeout_s
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout


class Visitors:
    """
    Clients that come all the time while something is done to the stack.

    ``answers`` counts what they got, by kind of request and status; 0 stands for a connection that failed.
    """

    def __init__(self, url: str, audio: bytes, *, timeout_s: float = 20) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.accepted: list[str] = []
        self.slowest_s = 0.0
        self._url = url
        self._audio = audio
        self._timeout_s = timeout_s
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._come, args=(kind, visit))
            for kind, visit in (("health", self._health), ("submit", self._submit), ("list", self._list))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.answers) == len(self._threads), within_s=20)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def failed(self) -> dict[tuple[str, int], int]:
        """What wasn't a success."""
        return {answer: count for answer, count in self.answers.items() if not 200 <= answer[1] < 300}

    def _come(self, kind: str, visit: Any) -> None:
        with httpx.Client(base_url=self._url, timeout=self._timeout_s) as http:
            while not self._over.is_set():
                began = time.monotonic()
                try:
                    status = visit(http).status_code
                except httpx.TransportError:
                    status = 0
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.answers[kind, status] += 1
                self._over.wait(0.02)

    def _health(self, http: httpx.Client) -> httpx.Response:
        return http.get("/health/live")

    def _list(self, http: httpx.Client) -> httpx.Response:
        return http.get("/v1/jobs?limit=5")

    def _submit(self, http: httpx.Client) -> httpx.Response:
        answer = http.post("/v1/jobs", files={"file": ("short.flac", self._audio)})
        if answer.is_success:
            self.accepted.append(answer.json()["id"])
        return answer


def refusal(client: Client, audio: Path) -> ApiError | None:
    """What a submit is refused with now; None when it's accepted."""
    try:
        client.submit(audio)
    except ApiError as error:
        return error
    return None
