"""What operators and accidents do to a running stack, by the documented commands, and how many requests may fail."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.compose.stack import Stack
from tests.platform import eventually

_NUMBERS = count(1)
AFTER_S = 4.0
"""How long the load goes on when a scenario is over."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table: ``do`` it; no more than ``may_fail`` requests may, where that is known."""

    name: str
    do: Callable[[Stack, ExitStack], None]
    may_fail: int | None = 0
    replicas: tuple[int, int] = (2, 1)
    """Of the API and of the worker."""
    requests: int = 0
    """The load goes on until there were so many."""


def _upgrade(stack: Stack, *words: str) -> None:
    stack.script("deploy/upgrade.sh", *words, timeout_s=420)


def _relabelled(after: ExitStack) -> Path:
    """A file for Compose that gives our images another content, as new code does; their layers are cached."""
    folder = Path(after.enter_context(TemporaryDirectory()))
    file = folder / "docker-compose.label.yml"
    build = f"build: {{ labels: {{ run: '{time.time_ns()}' }} }}"
    file.write_text(f"services:\n  api: {{ {build} }}\n  worker: {{ {build} }}\n  flower: {{ {build} }}\n")
    return file


def upgrade_of_code(stack: Stack, after: ExitStack) -> None:
    """New images for everything of ours, built under load."""
    with stack.told(COMPOSE_FILE=f"docker-compose.yml:{_relabelled(after)}"):
        _upgrade(stack)


def upgrade_of_settings(stack: Stack, _: ExitStack) -> None:
    """A setting each of the API, of workers, and of both, in the file of variables."""
    changed = {
        "MURMUR_LIMITS__MAX_UPLOAD_BYTES": str((1 << 30) + next(_NUMBERS)),
        "MURMUR_WORKER__SPAN_S": str(60 + next(_NUMBERS)),
        "MURMUR_LIMITS__MAX_DURATION_S": str(36000 + next(_NUMBERS)),
    }
    stack.keep(**changed)
    _upgrade(stack, "--no-build")


def upgrade_of_the_edge(stack: Stack, after: ExitStack) -> None:
    """nginx's settings and its template, and Prometheus' configuration."""
    after.enter_context(stack.told(MURMUR_EDGE_BURST=str(10_000 + next(_NUMBERS))))
    for path in ("nginx/nginx.conf.template", "monitoring/prometheus/prometheus.yml"):
        after.enter_context(_with_a_line_more(stack.root / path))
    _upgrade(stack, "--no-build")


@contextmanager
def _with_a_line_more(path: Path) -> Iterator[None]:
    text = path.read_text("utf-8")
    path.write_text(f"{text}# {time.time_ns()}\n", "utf-8")
    try:
        yield
    finally:
        path.write_text(text, "utf-8")


def plain_up_with_other_edge_settings(stack: Stack, after: ExitStack) -> None:
    """`docker compose up -d`, which anybody types."""
    after.enter_context(stack.told(MURMUR_EDGE_BURST=str(10_000 + next(_NUMBERS))))
    stack.compose("up", "-d", "--no-build")


def another_image_of_nginx(stack: Stack, after: ExitStack) -> None:
    """The one change for which the edge has to be replaced."""
    with_another_image_of_nginx(after)
    _upgrade(stack, "--no-build", "--gap")


def with_another_image_of_nginx(after: ExitStack) -> None:
    """The tag names another image until *after*."""
    image = "nginx:stable-alpine"
    known = ["docker", "image", "inspect", "-f", "{{.Id}}", image]
    before = subprocess.run(known, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    after.callback(subprocess.run, ["docker", "tag", before, image], check=True)
    _built(image, f"FROM {image}\n", "--label", f"run={time.time_ns()}")


def upgrade_with_a_step_of_the_ledger(stack: Stack, after: ExitStack) -> None:
    """A release whose ledger has another layout, which the release before can't read."""
    services = json.loads(stack.compose("config", "--format", "json"))["services"]
    images = {services[name]["image"] for name in ("api", "worker")}
    version = int(stack.compose("exec", "-T", "redis", "redis-cli", "get", "murmur:schema"))
    before = {image: stack.script("docker", "image", "inspect", "-f", "{{.Id}}", image).strip() for image in images}

    def back() -> None:
        stack.compose("stop", "api", "worker", timeout_s=240)
        stack.compose("exec", "-T", "redis", "redis-cli", "set", "murmur:schema", str(version))
        for image, known in before.items():
            stack.script("docker", "tag", known, image)

    after.callback(back)
    for image in images:
        _built(image, STEP.format(image=image, version=version + 1))
    _upgrade(stack, "--no-build")


STEP = r"""FROM {image}
USER root
WORKDIR /app/transcription/ledger/lua
RUN sed -i -e 's/^local VERSION = .*/local VERSION = {version}/' \
        -e 's/MIGRATIONS\[from\]()/(MIGRATIONS[from] or num)()/' schema.lua && grep -q 'or num' schema.lua
WORKDIR /app
USER murmur
"""


def _built(image: str, dockerfile: str, *words: str) -> None:
    subprocess.run(
        ["docker", "build", "-q", "-t", image, *words, "-"],
        input=dockerfile, text=True, check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def scale_up(stack: Stack, after: ExitStack) -> None:
    """API 2 to 4, workers 1 to 3, by their settings."""
    after.enter_context(stack.told(MURMUR_API_REPLICAS="4", MURMUR_WORKER_REPLICAS="3"))
    stack.compose("up", "-d", "--no-build")


def scale_down(stack: Stack, _: ExitStack) -> None:
    """Back again."""
    stack.compose("up", "-d", "--no-build")


def killed(service: str) -> Callable[[Stack, ExitStack], None]:
    """Kill one container of *service*, and see that the engine starts it again."""

    def kill(stack: Stack, _: ExitStack) -> None:
        victim = stack.containers(service)[0]
        # As a crash: the engine doesn't start again what somebody killed by its command.
        process = stack.script("docker", "inspect", "-f", "{{.State.Pid}}", victim).strip()
        subprocess.run(["kill", "-KILL", process], check=True)
        running = ["docker", "inspect", "-f", "{{.State.Running}} {{.State.Pid}}", victim]

        def back() -> bool:
            state, pid = stack.script(*running).split()
            return state == "true" and pid != process

        eventually(back, within_s=60, every_s=0.5)

    return kill


def restart_of_everything(stack: Stack, _: ExitStack) -> None:
    """`docker compose restart`."""
    stack.compose("restart", timeout_s=300)
    eventually(stack.settled, within_s=120, every_s=0.5)


SCENARIOS = [
    Scenario("upgrade, code (built meanwhile)", upgrade_of_code, requests=2000),
    Scenario("upgrade, code, API ×4, workers ×3", upgrade_of_code, replicas=(4, 3), requests=2000),
    Scenario("upgrade, a step of the ledger's schema", upgrade_with_a_step_of_the_ledger, requests=2000),
    Scenario("upgrade, settings of API and workers", upgrade_of_settings, requests=2000),
    Scenario("upgrade, edge: settings, template; Prometheus", upgrade_of_the_edge, requests=2000),
    Scenario("`docker compose up -d`, settings of the edge", plain_up_with_other_edge_settings),
    Scenario("upgrade, another image of nginx (`--gap`)", another_image_of_nginx, may_fail=None),
    Scenario("scale up, API 2 → 4, workers 1 → 3", scale_up),
    Scenario("scale down, API 4 → 2, workers 3 → 1", scale_down, replicas=(4, 3)),
    # A POST that the API had in hand is never sent twice.
    Scenario("kill of an API replica", killed("api"), may_fail=6),
    Scenario("kill of the worker", killed("worker")),
    Scenario("kill of nginx", killed("nginx"), may_fail=None),
    Scenario("kill of Redis", killed("redis"), may_fail=None),
    Scenario("kill of redis-cache", killed("redis-cache")),
    Scenario("kill of Flower", killed("flower")),
    Scenario("kill of Prometheus", killed("prometheus")),
    Scenario("restart of everything", restart_of_everything, may_fail=None),
]
