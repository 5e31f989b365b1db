"""
What a job takes of the ledger's memory in each state: `python -m bench.ledger.stored`.

Bytes of a job by MEMORY USAGE over all of the ledger's keys, those that grow with jobs, divided by the jobs: recordings
of one window of 60 words, of one tenant, with every option as by default. The audit stream, whose length is a setting,
and the platform's totals don't count.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis import Redis

from bench.ledger import crowd
from tests.platform import ledger_binaries, running_ledger
from transcription.housekeeping.maintenance import Maintenance
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Ledger, Settings
from transcription.settings.ledger import Retention
from transcription.storage.disk import DiskBlobs
from transcription.storage.results import open_results

JOBS = 1000
TOTALS = ("audit", "stats", "latencies", "config", "counts", "backlog", "fence", "schema", "revisions", "served")


class NoHints:
    """No Celery: nobody waits."""

    def hint(self, lane: str, count: int = 1) -> None:
        """Send none."""

    def waiting(self, lane: str) -> int:  # noqa: ARG002
        """None wait."""
        return 0


def usage(redis: Redis) -> Counter[str]:
    """Bytes by the kind of key."""
    found: Counter[str] = Counter()
    for key in redis.scan_iter("murmur:*", count=1000):
        kind = str(key).split(":")[1]
        if kind not in TOTALS:
            found[kind] += int(redis.memory_usage(key, samples=0) or 0)
    return found


def states(settings: Settings, redis: Redis, jobs: int) -> Iterator[tuple[str, Counter[str]]]:
    """Take *jobs* through their lives; after each step how much they take."""
    url = settings.ledger.url.get_secret_value()
    spans = RedisSpans(redis, settings)
    crowd.register(url, ["w1"])
    crowd.submit(url, jobs, crowd.WINDOW_S, 1, 0)
    yield "waits", usage(redis)
    crowd.work(url, ["w1"], 1)
    yield "has finished", usage(redis)
    store = open_results(settings)
    assert store is not None
    care = Maintenance(spans, NoHints(), DiskBlobs(settings.blob_dir), settings, results=store)
    while redis.zcard("murmur:finished"):
        care.archive(store)
    redis.delete("murmur:unneeded")  # as after a minute, when the recordings are deleted
    yield "has its result in the blob store", usage(redis)
    asyncio.run(read_all(settings, jobs))
    for name in redis.zrange("murmur:expiry", 0, -1):
        redis.zadd("murmur:expiry", {name: 1})
    while spans.sweep():
        pass
    while names := redis.zrange("murmur:dropped", 0, 499):
        spans.deleted_results(names)
    yield "has expired", usage(redis)


async def read_all(settings: Settings, jobs: int) -> None:
    """Read some of the results from the store: they must be there."""
    store = RedisJobs(connect_async(settings.ledger), settings, results=open_results(settings))
    page = await store.list(tenant="tenant0", status=None, limit=min(50, jobs), cursor=None)
    began = time.monotonic()
    for job in page.jobs:
        transcript = await store.transcript(job)
        assert len(transcript.segments) == len(crowd.WINDOW)
    print(f"(a result is read from the store in {(time.monotonic() - began) / len(page.jobs) * 1e3:.1f} ms)\n")
    await store.close()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--server", choices=sorted(ledger_binaries()), default="valkey")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_ledger(Path(folder), ledger_binaries()[options.server]) as server,
    ):
        settings = Settings(
            ledger=Ledger(url=SecretStr(server.url), timeout_s=30),
            retention=Retention(results_in_ledger_s=0),
            data_dir=Path(folder),
        )
        with connect(settings.ledger) as redis:
            before = usage(redis)
            info: dict[str, Any] = redis.info("server")
            print(f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}, "
                  f"{options.jobs:,} jobs\n")  # fmt: skip
            rows = []
            for name, found in states(settings, redis, options.jobs):
                found.subtract(before)
                most = [(kind, size / options.jobs) for kind, size in found.most_common(9)]
                parts = ", ".join(f"{kind} {each:.0f}" for kind, each in most if each >= 1)
                rows.append(f"| {name} | {found.total() / options.jobs:,.0f} | {parts} |")
            print("| a job that | bytes | of which |\n|---|---|---|")
            print("\n".join(rows))


if __name__ == "__main__":
    main()
