"""The workers of one host tell the ledger together that they live, and none is given up because another one hangs."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from transcription.errors import NameTaken
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.ports import WorkerInfo
from transcription.settings import Lease, Settings
from worker.host_heartbeat import HostHeartbeat

EVERY_S = 600.0  # no busy machine makes a file stale by itself


class Mate:
    """A worker of this host, and how often it spoke for itself."""

    def __init__(self, spans: RedisSpans, name: str, *, pid: int = 1) -> None:
        self.spans = spans
        self.info = WorkerInfo(
            id=name, models=("demo",), engine="none", device="cpu", compute_type="int8", slots=1, host="elsewhere",
            pid=pid, started_at=1.0, revisions={"demo": "r1"},
        )  # fmt: skip
        self.alone = 0
        self.heartbeat = HostHeartbeat(
            "redis://ledger", every_s=EVERY_S, register=self.register, register_all=spans.register_all
        )

    def register(self, info: WorkerInfo) -> None:
        self.alone += 1
        self.spans.register(info)

    def beat(self, **changes: object) -> None:
        self.info = replace(self.info, **changes)  # type: ignore[arg-type]
        self.heartbeat.beat(self.info)


@pytest.fixture
def spans(redis_url: str) -> Iterator[RedisSpans]:
    settings = Settings(ledger={"url": redis_url}, lease=Lease())
    with connect(settings.ledger) as client:
        yield RedisSpans(client, settings)


@pytest.fixture
def mates(spans: RedisSpans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mate]]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = [Mate(spans, name) for name in ("w1", "w2", "w3")]
    for mate in found:
        mate.beat()  # its first word is its own
    for mate in found:
        mate.beat()
    found[0].beat()
    yield found
    for mate in found:
        mate.heartbeat.end(mate.info.id)


def silenced(redis: Redis) -> None:
    """Nobody has been heard of."""
    redis.zadd("murmur:workers", dict.fromkeys(redis.zrange("murmur:workers", 0, -1), 1))


def heard(redis: Redis) -> set[str]:
    return set(redis.zrangebyscore("murmur:workers", 2, "+inf"))


def test_one_of_them_speaks_for_all(mates: list[Mate], redis_server: Redis) -> None:
    spoken = [mate.alone for mate in mates]
    for mate in mates[1:]:
        mate.beat(rate=3.5)
    silenced(redis_server)
    mates[0].beat()
    assert heard(redis_server) == {"w1", "w2", "w3"}
    assert [mate.alone for mate in mates] == spoken
    assert '"rate":3.5' in (redis_server.hget("murmur:worker:w3", "info") or "")


def test_another_one_speaks_when_the_first_is_gone(mates: list[Mate], redis_server: Redis) -> None:
    mates[0].heartbeat.end("w1")
    mates[1].beat()
    silenced(redis_server)
    mates[1].beat()
    assert heard(redis_server) == {"w2", "w3"}


def test_who_isn_t_spoken_for_speaks_itself(mates: list[Mate], redis_server: Redis, tmp_path: Path) -> None:
    (told,) = tmp_path.glob("murmur-workers-*/told")
    os.utime(told, (time.time() - 2 * EVERY_S,) * 2)  # the first one hangs
    silenced(redis_server)
    mates[2].beat()
    assert heard(redis_server) == {"w3"}


def test_a_folder_that_cannot_be_used_costs_nothing_but_calls(
    mates: list[Mate], redis_server: Redis, tmp_path: Path
) -> None:
    (folder,) = tmp_path.glob("murmur-workers-*")
    folder.rename(tmp_path / "moved")
    folder.write_text("in the way", "utf-8")
    silenced(redis_server)
    for mate in mates:
        mate.beat()
    assert heard(redis_server) == {"w1", "w2", "w3"}


def test_a_process_whose_place_another_has_hears_so(mates: list[Mate], spans: RedisSpans) -> None:
    spans.register(replace(mates[2].info, pid=2))
    mates[0].beat()
    with pytest.raises(NameTaken):
        mates[2].beat()


def test_a_dead_mate_is_told_of_no_more(mates: list[Mate], redis_server: Redis, tmp_path: Path) -> None:
    (left,) = tmp_path.glob("murmur-workers-*/w3.json")
    os.utime(left, (time.time() - 2 * EVERY_S,) * 2)  # it was killed, and could take nothing away
    silenced(redis_server)
    mates[0].beat()
    assert heard(redis_server) == {"w1", "w2"}


def test_a_worker_that_was_started_again_is_not_spoken_for_by_what_was_told_of_the_one_before(
    mates: list[Mate], spans: RedisSpans
) -> None:
    again = Mate(spans, "w3", pid=2)
    for _ in range(2):
        again.beat(started_at=2.0)
    assert again.alone == 2
    mates[0].beat()
    again.beat()
    assert again.alone == 2


def test_a_folder_of_another_user_is_not_trusted(
    mates: list[Mate], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    silenced(redis_server)
    mates[2].beat()
    assert heard(redis_server) == {"w3"}
