"""Passwords in files, versions, and the way back, on a stack of its own."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import SAMPLES
from tests.compose.stack import ROOT, Stack, Visitors, engine_answers
from tests.platform import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

PROJECT = "murmuration-versions"
FIRST, NEWER = "0.0.1-first", "9.9.9-newer"
OURS = ("murmuration-api", "murmuration-worker", "murmuration-flower")
# A version whose ledger has another schema: the code that is here, with one more step.
NEWER_SCHEMA = """FROM {image}:{version}
USER root
RUN sed -i -e 's/^local VERSION = 4$/local VERSION = 5/' \\
    -e 's/^local MIGRATIONS = {{ \\(.*\\) }}$/local MIGRATIONS = {{ \\1, function() end }}/' \\
    /app/transcription/ledger/lua/schema.lua \\
 && grep -q 'VERSION = 5' /app/transcription/ledger/lua/schema.lua
USER murmur
LABEL murmuration.ledger.schema="5"
"""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, _no_settings_from_outside: None) -> Iterator[Stack]:
    """The stack with its passwords in files, as version `FIRST`, and a file of variables of its own."""
    if not os.environ.get("TEST_COMPOSE"):
        pytest.skip("`make test-compose` runs these: they build images and take minutes")
    if not engine_answers():
        pytest.skip("no Docker engine with Compose answers here")
    here = tmp_path_factory.mktemp("versions")
    (here / ".env").write_text(f"MURMUR_VERSION={FIRST}\n")
    secrets = {name: (name * 3).ljust(24, "x") for name in ("redis", "flower", "operator", "grafana")}
    for name, text in secrets.items():
        (here / f"{name}_password").write_text(text)
    files = "".join(f"  {name}_password: {{ file: {here}/{name}_password }}\n" for name in secrets)
    (here / "files.yml").write_text(f"secrets:\n{files}")
    running = Stack(
        COMPOSE_PROJECT_NAME=PROJECT,
        COMPOSE_ENV_FILES=str(here / ".env"),
        COMPOSE_FILE=f"docker-compose.yml:docker-compose.secrets.yml:{here}/files.yml",
        MURMUR_OPERATOR_PASSWORD="",
    )
    running.secrets, running.file = secrets, here / ".env"  # type: ignore[attr-defined]
    running.compose("down", "-v", "--remove-orphans")
    try:
        with running.told(MURMUR_COMMIT="1" * 40):
            running.compose("build", timeout_s=1800)
        running.compose("up", "-d", "--no-build", timeout_s=300)
        eventually(running.settled, within_s=120, every_s=1)
        yield running
    finally:
        running.compose("down", "-v", "--remove-orphans", timeout_s=300)
        tags = [f"{image}:{tag}" for image in OURS for tag in (FIRST, NEWER)]
        subprocess.run(["docker", "image", "rm", "-f", *tags], check=False, capture_output=True)


def inspected(container: str) -> dict[str, Any]:
    """What the engine knows of a container."""
    asked = subprocess.run(["docker", "inspect", container], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(asked.stdout)[0]
    return found


def said(versions: Stack) -> tuple[str, str]:
    """The version's tag that the API runs as, and the commit that it says."""
    (image,) = {inspected(one)["Config"]["Image"] for one in versions.containers("api")}
    (worker,) = httpx.get(f"{versions.url}/stats", timeout=10).json()["workers"]
    commit = str(httpx.get(f"{versions.url}/health", timeout=10).json()["commit"])
    assert worker["commit"] == commit
    return image.partition(":")[2], commit


def schema(versions: Stack) -> str:
    return versions.compose(
        "exec", "-T", "redis", "sh", "/etc/murmur/redis.sh", "redis-cli", "get", "murmur:schema"
    ).strip()


def text_of(versions: Stack, path: Path) -> str:
    with versions.client(patience_s=60) as client:
        job = client.wait(client.submit(path).id, seconds=90)
        return " ".join(client.result(job.id, "text").split())


# ---------------------------------------------------------------- passwords


def test_a_stack_with_its_passwords_in_files_works_and_shows_none(
    versions: Stack, recordings: Callable[[str, int, int], list[Path]]
) -> None:
    assert text_of(versions, recordings("short", 800, 1)[0]) == SAMPLES["short"].transcript
    assert "NOAUTH" in versions.compose("exec", "-T", "redis", "redis-cli", "get", "murmur:schema")
    ids = versions.compose("ps", "-a", "-q").split()
    shown = subprocess.run(["docker", "inspect", *ids], check=True, capture_output=True, text=True).stdout
    shown += subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    for name, text in versions.secrets.items():  # type: ignore[attr-defined]
        assert text not in shown, name


def test_a_worker_has_the_ledger_s_password_and_no_other(versions: Stack) -> None:
    environment = versions.compose("exec", "-T", "worker", "env")
    held = versions.compose("exec", "-T", "worker", "ls", "/run/secrets").split()
    assert held == ["redis_password"]
    assert not any(text in environment for text in versions.secrets.values())  # type: ignore[attr-defined]
    assert versions.compose("exec", "-T", "nginx", "ls", "/run/secrets").split() == ["operator_password"]


def test_operators_come_in_with_the_password_of_the_file(versions: Stack) -> None:
    who = ("operator", versions.secrets["operator"])  # type: ignore[attr-defined]
    assert httpx.get(f"{versions.url}/flower/", timeout=10).status_code == 401
    eventually(lambda: httpx.get(f"{versions.url}/flower/", auth=who, timeout=10).is_success, within_s=60)
    workers = httpx.get(f"{versions.url}/flower/workers?json=1", auth=who, timeout=10).text
    assert "worker@" in workers
    given = versions.compose("exec", "-T", "grafana", "sh", "-c", 'cat "$GF_SECURITY_ADMIN_PASSWORD__FILE"')
    assert given == versions.secrets["grafana"]  # type: ignore[attr-defined]


# ---------------------------------------------------------------- what hangs

STOPPED_S = 240


@pytest.mark.parametrize("service", ["api"])
def test_what_was_stopped_is_started_again_and_holds_no_request_for_long(
    versions: Stack, service: str, recordings: Callable[[str, int, int], list[Path]]
) -> None:
    (path,) = recordings("short", 810 + len(service), 1)
    victim = versions.containers(service)[0]
    began = inspected(victim)["State"]["StartedAt"]
    top = ["docker", "top", victim, "-eo", "pid,args"]
    running = subprocess.run(top, check=True, capture_output=True, text=True).stdout.splitlines()
    main = re.compile(r"python -m api\.main|celery .*worker@")
    program = next(line.split()[0] for line in running if main.search(line) and "docker-init" not in line)
    with Visitors(versions.url, path.read_bytes(), timeout_s=STOPPED_S) as visitors:
        os.kill(int(program), signal.SIGSTOP)
        eventually(lambda: inspected(victim)["State"]["StartedAt"] != began, within_s=STOPPED_S, every_s=1)
        eventually(lambda: inspected(victim)["State"]["Health"]["Status"] == "healthy", within_s=120, every_s=1)
    print(
        f"{service} stopped: {sum(visitors.answers.values())} requests, {visitors.failed()}, {visitors.slowest_s:.1f} s"
    )
    assert visitors.slowest_s < STOPPED_S - 30
    # What was at the one that hung: a minute later nginx asks no other one.
    assert {status for _, status in visitors.failed()} <= {502}
    assert sum(visitors.failed().values()) <= 3
    eventually(lambda: versions.workers() == 1, within_s=60, every_s=1)
    with versions.client(patience_s=60) as client:
        assert {client.wait(id_, seconds=90).status for id_ in set(visitors.accepted)} <= {"completed"}


# ---------------------------------------------------------------- versions


def test_an_upgrade_and_the_way_back_lose_nothing_and_say_which_version_runs(
    versions: Stack, recordings: Callable[[str, int, int], list[Path]]
) -> None:
    (path,) = recordings("short", 801, 1)
    assert said(versions) == (FIRST, "1" * 40)
    with Visitors(versions.url, path.read_bytes()) as visitors:
        versions.script("deploy/upgrade.sh", timeout_s=600)
        eventually(lambda: versions.workers() == 1, within_s=120, every_s=1)
        second = said(versions)
        versions.script("deploy/upgrade.sh", "--back", timeout_s=600)
        eventually(lambda: versions.workers() == 1, within_s=120, every_s=1)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert second[1] == head.strip()
    assert head[:12] in second[0]
    assert said(versions) == (FIRST, "1" * 40)
    requests, failed = sum(visitors.answers.values()), visitors.failed()
    print(f"up and back: {requests} requests, {failed}, {visitors.slowest_s:.1f} s")
    # tests/compose/test_operations.py holds upgrades to none at all; here it is the way back that is tried.
    assert sum(failed.values()) <= requests / 200
    with versions.client(patience_s=60) as client:
        assert {client.wait(id_, seconds=90).status for id_ in set(visitors.accepted)} == {"completed"}


def test_the_way_back_over_a_schema_change_is_refused_and_a_backup_leads_there(
    versions: Stack, recordings: Callable[[str, int, int], list[Path]]
) -> None:
    (path, late) = recordings("short", 802, 2)
    before = text_of(versions, path)
    for image in OURS[:2]:
        made = NEWER_SCHEMA.format(image=image, version=FIRST)
        subprocess.run(["docker", "build", "-q", "-t", f"{image}:{NEWER}", "-"], input=made.encode(), check=True)
    subprocess.run(["docker", "tag", f"murmuration-flower:{FIRST}", f"murmuration-flower:{NEWER}"], check=True)
    found = set((ROOT / "backups").glob(f"before-{NEWER}-*")) if (ROOT / "backups").is_dir() else set()
    with versions.told(MURMUR_VERSION=NEWER):
        versions.script("deploy/upgrade.sh", "--no-build", timeout_s=600)
    eventually(lambda: versions.workers() == 1, within_s=120, every_s=1)
    (backup,) = set((ROOT / "backups").glob(f"before-{NEWER}-*")) - found
    try:
        assert schema(versions) == "5"
        assert text_of(versions, late) == SAMPLES["short"].transcript
        with pytest.raises(AssertionError, match="--back --restore BACKUP"):
            versions.script("deploy/upgrade.sh", "--back")
        assert said(versions)[0] == NEWER
        versions.script("deploy/upgrade.sh", "--back", "--restore", str(backup), timeout_s=600)
        eventually(versions.settled, within_s=120, every_s=1)
        assert (said(versions)[0], schema(versions)) == (FIRST, "4")
        with versions.client(patience_s=60) as client:
            kept = [client.result(job.id, "text") for job in client.jobs().jobs if job.status == "completed"]
        assert before in [" ".join(text.split()) for text in kept]
    finally:
        (backup / "backup.tar").unlink()
        backup.rmdir()
