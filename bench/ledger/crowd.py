"""Clients and workers of the ledger as mere names: a few processes call the real scripts for all of them."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from pydantic import SecretStr
from redis import Redis

from transcription.computation import Claim, Timing
from transcription.job import Audio, Submission
from transcription.languages import LANGUAGES
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Ledger, Settings
from transcription.spans import Piece, Span
from transcription.transcript import Segment

Item = TypeVar("Item")
Done = TypeVar("Done")

THREADS = 4
AT_ONCE = 16
MODELS = ("base",)
WINDOW_S = 30.0

# A window of speech as the model writes it: 60 words in five segments, with tokens, without words' times.
SAID = " and so the flock turns over the reeds at dusk as one"
WINDOW = [Segment(6.0 * n, 6.0 * n + 5.5, SAID, tokens=tuple(range(50_364, 50_384))) for n in range(5)]


@cache
def _settings(url: str) -> Settings:
    return Settings(model="base", ledger=Ledger(url=SecretStr(url)))


@cache
def _client(url: str) -> Redis:
    return connect(_settings(url).ledger)


@cache
def _spans(url: str) -> RedisSpans:
    return RedisSpans(_client(url), _settings(url))


def submit(url: str, count: int, seconds: float, tenants: int, languages: int) -> None:
    """Hand in *count* recordings as the API does, some at a time; each language has a lane of its own."""
    spoken: list[str | None] = [*sorted(LANGUAGES)[:languages]] or [None]

    async def run() -> None:
        jobs = RedisJobs(connect_async(_settings(url).ledger), _settings(url))
        todo = iter(range(count))

        async def client() -> None:
            for number in todo:
                await jobs.submit(_submission(f"tenant{number % tenants}", seconds, spoken[number % len(spoken)]))

        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
        await jobs.close()

    asyncio.run(run())


def _submission(tenant: str, seconds: float, language: str | None) -> Submission:
    name = uuid.uuid4().hex
    return Submission(
        job_id=name,
        tenant=tenant,
        audio=Audio(sha256=name * 2, bytes=1_000_000, duration_s=seconds, filename="recording.mp3"),
        model=MODELS[0],
        revision="r1",
        options=Options(language=language),
    )


def register(url: str, names: Sequence[str]) -> None:
    """Say once that the workers live."""
    for name in names:
        _spans(url).register(_info(name))


def _info(name: str) -> WorkerInfo:
    return WorkerInfo(
        id=name, models=MODELS, engine="faster_whisper", device="cpu", compute_type="int8", slots=8, host=name, pid=1,
        started_at=1_700_000_000.0, rate=5.0, running=8,
    )  # fmt: skip


def work(url: str, names: Sequence[str], windows: int) -> int:
    """Take spans to their ends until none waits, every worker one at a time; how many ended."""
    spans = _spans(url)
    piece = Piece(Span(0.0, windows * WINDOW_S), (Span(0.5, windows * WINDOW_S - 0.5),))
    timing = Timing(audio_s=windows * WINDOW_S, decode_s=0.1, vad_s=0.1, compute_s=5.0)

    def rounds(mine: Sequence[str]) -> int:
        ended = 0
        while claims := _claims(spans, mine):
            for claim in claims:
                spans.prepared(claim, [piece], language="en", probability=0.9)
            for window in range(windows):
                for claim in claims:
                    spans.append(claim, WINDOW, window=window, audio_s=(window + 1) * WINDOW_S)
            for claim in claims:
                spans.finish(claim, timing)
            ended += len(claims)
        return ended

    return sum(_share(rounds, names))


def _claims(spans: RedisSpans, names: Sequence[str]) -> list[Claim]:
    found = (spans.claim(name, models=MODELS, extras=True) for name in names)
    return [claim for claim in found if claim]


def _share(task: Callable[[Sequence[Item]], Done], names: Sequence[Item]) -> list[Done]:
    slices = [part for part in (names[start::THREADS] for start in range(THREADS)) if part]
    with ThreadPoolExecutor(len(slices)) as threads:
        return list(threads.map(task, slices))


def claim(url: str, names: Sequence[str], count: int) -> list[Claim]:
    """Have workers claim *count* spans, each in its turn."""
    share = -(-count // min(THREADS, len(names)))

    def some(mine: Sequence[str]) -> list[Claim]:
        found = (_spans(url).claim(mine[n % len(mine)], models=MODELS, extras=True) for n in range(share))
        return [claim for claim in found if claim]

    return [claim for part in _share(some, names) for claim in part]


def finish(url: str, claims: Sequence[Claim]) -> int:
    """Finish claimed spans, each the only one of its recording; how many recordings that completed."""

    def some(mine: Sequence[Claim]) -> int:
        return sum(_spans(url).finish(claim, Timing(audio_s=WINDOW_S)) for claim in mine)

    return sum(_share(some, claims))


def hold(url: str, names: Sequence[str], spans_each: int) -> dict[str, list[Claim]]:
    """Let every worker take so many spans."""
    return {name: _claims(_spans(url), [name] * spans_each) for name in names}


def live(url: str, names: Sequence[str], seconds: int, held: dict[str, list[Claim]]) -> float:
    """
    Do what workers do beside their work for so many seconds, each in its own pace.

    Returns:
        Seconds that it took: more than *seconds* when the load's own processes couldn't keep the pace.
    """
    spans = _spans(url)
    lease = _settings(url).lease
    began = time.monotonic()

    def beats(mine: Sequence[str]) -> int:
        for tick in range(seconds):
            for number, name in enumerate(mine):
                time.sleep(max(0.0, began + tick + number / len(mine) - time.monotonic()))
                spans.renew(held[name])
                spans.waiting_lanes()
                if (tick + number) % round(lease.renew_s) == 0:
                    spans.register(_info(name))
                if (tick + number) % round(lease.reap_s) == 0:
                    _take_care(spans, lease.reap_s)
        return 0

    _share(beats, names)
    return time.monotonic() - began


def look(url: str, times: int) -> None:
    """Ask for the figures of the whole platform, as every API replica and every scrape does."""

    async def run() -> None:
        jobs = RedisJobs(connect_async(_settings(url).ledger), _settings(url))
        for _ in range(times):
            await jobs.backlog()
        await jobs.close()

    asyncio.run(run())


def _take_care(spans: RedisSpans, reap_s: float) -> None:
    if spans.lock("reap", seconds=reap_s * 0.9):
        spans.reap()
        spans.webhooks_wait()
        if spans.pending():
            spans.lanes()
    if spans.lock("sweep", seconds=57.0):
        spans.sweep()
