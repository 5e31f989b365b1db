"""
Write a ledger with a job in every state, by the code of an earlier commit: how the files beside this one were made.

    git archive f7aede3 transcription | tar -x -C /tmp/earlier
    PYTHONPATH=/tmp/earlier python tests/ledgers/write.py redis://127.0.0.1:6379/0 > tests/ledgers/form1.json

The server must be empty, and is left as written. f7aede3 is the first commit that has a worker. form2.json comes from
629d5a3, with `--suspects` behind the URL: two more jobs, whose worker died. form3.json comes from 8b08432, likewise.
"""

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

from redis import Redis

from transcription.computation import Claim, Timing
from transcription.job import Audio, Failure, Submission
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Ledger, Settings
from transcription.spans import Piece, Span
from transcription.transcript import Segment, Word

WORKER = WorkerInfo(
    id="w1",
    models=("demo",),
    engine="stub",
    device="cpu",
    compute_type="int8",
    slots=4,
    host="h",
    pid=1,
    started_at=1.0,
)


def main(url: str, *, suspects: bool = False) -> None:
    """Write every kind of job, in an order that leaves each in its state; then show the ledger as JSON."""
    settings = Settings(ledger=Ledger.model_validate({"url": url}))
    with connect(settings.ledger) as redis:
        if redis.dbsize():
            raise SystemExit("the server isn't empty")
        spans = RedisSpans(redis, settings)
        spans.register(WORKER)
        submit(settings, "completed", key="key-1")
        work(spans)
        submit(settings, "failed")
        spans.fail(claim(spans), Failure(code="engine_failed", message="boom", retryable=True), retry_in_s=None)
        submit(settings, "delayed")
        spans.fail(claim(spans), Failure(code="engine_failed", message="boom", retryable=True), retry_in_s=1.0)
        submit(settings, "processing", seconds=30.0)
        held = claim(spans)
        spans.prepared(held, [piece(0, 10), piece(10, 20), piece(20, 30)], language="en", probability=0.9)
        spans.append(held, [Segment(1.0, 2.0, " written before")], window=0, audio_s=5.0)
        submit(settings, "canceled", cancel=True)
        submit(settings, "queued", tenant="acme")
        submit(settings, "queued-batch", priority="batch", language="de")
        if suspects:
            submit(settings, "suspect-one")
            submit(settings, "suspect-two")
            spans.register(replace(WORKER, id="w2"))
            for _ in range(2):
                claim(spans, "w2")
            spans.register(replace(WORKER, id="w2", pid=2))
        lines = [
            f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in sorted(dump(redis).items())
        ]
        print("{\n" + ",\n".join(lines) + "\n}")


def submit(
    settings: Settings,
    name: str,
    *,
    tenant: str = "default",
    seconds: float = 10.0,
    key: str | None = None,
    cancel: bool = False,
    **options: Any,
) -> None:
    """Hand in a recording of its own as the job *name*."""
    wish = Submission(
        job_id=name,
        tenant=tenant,
        audio=Audio(sha256=name.encode().hex().ljust(64, "0"), bytes=1000, duration_s=seconds, filename=f"{name}.wav"),
        model="demo",
        revision="r1",
        options=Options(**options),
        idempotency_key=key,
    )

    async def run() -> None:
        jobs = RedisJobs(connect_async(settings.ledger), settings)
        await jobs.submit(wish)
        if cancel:
            await jobs.cancel(name, tenant=tenant)
        await jobs.close()

    asyncio.run(run())


def claim(spans: RedisSpans, worker: str = "w1") -> Claim:
    """Take the next span."""
    found = spans.claim(worker, models=("demo",), extras=False)
    assert found is not None
    return found


def piece(start: float, end: float) -> Piece:
    """A span that is all speech."""
    return Piece(Span(start, end), (Span(start, end),))


def work(spans: RedisSpans) -> None:
    """Bring the next recording to its end."""
    held = claim(spans)
    spans.prepared(held, [piece(0, 10)], language="en", probability=0.9)
    words = (Word(1.0, 1.4, " Hello", 0.9), Word(1.4, 2.0, " there.", 0.8))
    spans.append(held, [Segment(1.0, 2.0, " Hello there.", tokens=(1, 2), words=words)], window=0, audio_s=6.0)
    spans.append(held, [Segment(7.0, 8.0, " Good-bye.")], window=1, audio_s=10.0)
    spans.finish(held, Timing(audio_s=10.0, compute_s=1.0))


def dump(redis: Redis) -> dict[str, Any]:
    """Every key with its type, its value, and the ms that it has left, if it has an end."""
    read: dict[str, Any] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": lambda key: sorted(redis.smembers(key)),
        "list": lambda key: redis.lrange(key, 0, -1),
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        "stream": redis.xrange,
    }
    kinds = {key: redis.type(key) for key in redis.keys("murmur:*")}
    return {key: {"type": kind, "value": read[kind](key), "ttl": redis.pttl(key)} for key, kind in kinds.items()}


if __name__ == "__main__":
    main(sys.argv[1], suspects="--suspects" in sys.argv)
