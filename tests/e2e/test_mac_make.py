"""`make mac-worker`, as far as Linux can run it: the recipe itself, with another engine than Metal's."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from demo import SAMPLES
from tests.platform import BLOBS_SECRET, TestPlatform, eventually
from tests.processes import command
from tests.ready_model import with_ready_model

ROOT = Path(__file__).parents[2]


def checkout(directory: Path, *variables: str) -> None:
    """What the recipe finds beside the Makefile: `.env`, and a `murmur` that is ours."""
    shutil.copy(ROOT / "Makefile", directory)
    (directory / ".env").write_text("".join(f"{line}\n" for line in variables))
    program = directory / ".venv/bin/murmur"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m murmur "$@"\n')
    program.chmod(0o755)


@contextmanager
def made(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`make mac-worker`, without setting up what is there."""
    argv = ["make", "-s", "-o", ".venv/.mlx", "mac-worker", f"ARGS={' '.join(arguments)}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MURMUR_")}
    process = subprocess.Popen(argv, cwd=directory, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(40)


def test_a_mac_s_worker_has_its_secrets_from_files_and_shows_them_on_no_command_line(
    api_alone: TestPlatform, tmp_path: Path
) -> None:
    ledger = urlsplit(api_alone.redis_url)
    assert ledger.password
    variables = [
        f"MURMUR_LEDGER_PORT={ledger.port}",
        f"MURMUR_HTTP_PORT={api_alone.layout.port}",
        "MURMUR_BLOBS__SECRET_FILE=secrets/blobs",
    ]
    checkout(tmp_path, *variables)
    for name, text in (("redis_password", ledger.password), ("blobs", BLOBS_SECRET)):
        (tmp_path / "secrets").mkdir(exist_ok=True)
        (tmp_path / "secrets" / name).write_text(f"{text}\n")
    data = with_ready_model(tmp_path / "data")
    options = ["--engine", "faster-whisper", "--model", "demo", "--slots", "1", "--data-dir", str(data)]
    with made(tmp_path, *options) as process, api_alone.client() as client:
        eventually(client.ready, within_s=60)
        job = client.wait(client.submit(SAMPLES["short"].path).id, seconds=60)
        assert job.status.value == "completed"
        shown = list(map(command, psutil.Process(process.pid).children(recursive=True)))
        assert any("worker" in line for line in shown)
        assert not any(ledger.password in line or BLOBS_SECRET in line for line in shown)
    # Nobody makes up a second secret beside the file's.
    assert "MURMUR_BLOBS__SECRET=" not in (tmp_path / ".env").read_text()


@pytest.mark.parametrize(
    ("variables", "files", "told"),
    [
        (["MURMUR_REDIS_PASSWORD=from .env"], {}, {"MURMUR_LEDGER__PASSWORD": "from .env"}),
        ([], {}, {"MURMUR_LEDGER__PASSWORD": ""}),
        ([], {"redis_password": "p"}, {"MURMUR_LEDGER__PASSWORD_FILE": "secrets/redis_password"}),
        (["MURMUR_LEDGER__PASSWORD_FILE=elsewhere"], {}, {}),
    ],
)
def test_the_ledger_s_password_is_the_stack_s_own(
    tmp_path: Path, variables: list[str], files: dict[str, str], told: dict[str, str]
) -> None:
    checkout(tmp_path, *variables)
    for name, text in files.items():
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / name).write_text(text)
    (tmp_path / ".venv/bin/murmur").write_text('#!/bin/sh\nenv\necho "ARGV $*"\n')
    argv = ["make", "-s", "-o", ".venv/.mlx", "mac-worker"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MURMUR_")}
    ran = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=30)
    seen = dict(line.partition("=")[::2] for line in ran.stdout.splitlines() if "=" in line)
    assert {name: value for name, value in seen.items() if name.startswith("MURMUR_LEDGER__PASSWORD")} == told
    assert "--ledger redis://127.0.0.1:6379/0 --audio http://127.0.0.1:80" in ran.stdout
    assert "from .env" not in ran.stdout.partition("ARGV")[2]
