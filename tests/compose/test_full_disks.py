"""A full disk refuses what is new and says so; what was accepted is kept, and goes on when there is room again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compose.load import Load
from tests.compose.stack import Stack
from tests.compose.table import Run, append
from tests.compose.test_operations import AFTER_S, RUNS, results, whole
from tests.platform import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
__all__ = ["results"]

SMALL = """
volumes:
  data: { driver_opts: { type: tmpfs, device: tmpfs, o: "size=192m,uid=10001,gid=10001,mode=0755" } }
  ledger: { driver_opts: { type: tmpfs, device: tmpfs, o: "size=96m,mode=1777" } }
"""
FULL_S = 8.0
WRITING = {"submit", "upload", "follow"}


@pytest.fixture(scope="module")
def small(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with little room for recordings and for the ledger."""
    file = tmp_path_factory.mktemp("small") / "docker-compose.small.yml"
    file.write_text(SMALL)
    stack.compose("down", "-v", timeout_s=300)
    with stack.told(COMPOSE_FILE=f"docker-compose.yml:{file}", MURMUR_LIMITS__MIN_FREE_DISK_BYTES=str(16 << 20)):
        whole(stack, 2, 1)
        yield stack
        stack.compose("down", "-v", timeout_s=300)
    whole(stack, 2, 1)


@contextmanager
def full(stack: Stack, service: str) -> Iterator[None]:
    """No room where *service* keeps its data."""
    fill = "for size in 1M 512; do dd if=/dev/zero of=/data/filled.$size bs=$size 2>/dev/null; done; true"
    stack.compose("exec", "-T", service, "sh", "-c", fill)
    try:
        yield
    finally:
        stack.compose("exec", "-T", service, "rm", "-f", "/data/filled.1M", "/data/filled.512")


def serves(load: Load) -> Callable[[], bool]:
    """Whether the last answer of every kind that writes was a success."""
    since = len(load.answers)

    def good() -> bool:
        last = {answer.kind: answer.ok for answer in load.answers[since:] if answer.kind in WRITING}
        return len(last) >= 2 and all(last.values())

    return good


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize(
    ("name", "service"), [("disk of the recordings full", "api"), ("disk of the ledger full", "redis")]
)
def test_a_full_disk_loses_nothing_and_ends_when_there_is_room(
    small: Stack, name: str, service: str, run: int, results: Path
) -> None:
    with Load(small.url) as load:
        with full(small, service):
            began = time.monotonic()
            eventually(lambda: time.monotonic() - began > FULL_S, within_s=FULL_S + 5)
        eventually(serves(load), within_s=60, every_s=0.2)
        ended = time.monotonic()
        eventually(lambda: time.monotonic() - ended > AFTER_S, within_s=AFTER_S + 5)
    lost = load.lost()
    append(results, Run.of(name, load.answers, jobs=len(load.accepted), lost=len(lost), resumed=load.resumed))
    failed = [answer for answer in load.answers if not answer.ok]
    assert lost == []
    assert failed, "the disk was full, and nobody noticed"
    assert {answer.status for answer in failed} <= {503, 507}, failed[:10]
    assert {answer.kind for answer in failed} <= WRITING, failed[:10]
