"""Jobs in the ledger itself, and a worker by name alone that ends them at a pace: nothing is computed."""

import asyncio
import threading
import time
import uuid

from pydantic import SecretStr

from bench.ledger.crowd import MODELS, WINDOW, WINDOW_S
from transcription.computation import Timing
from transcription.job import Audio, Submission
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Ledger, Settings
from transcription.spans import Piece, Span

AT_ONCE = 16


class Moves:
    """Hands jobs in, and brings them to their ends in the order in which they came."""

    def __init__(self, redis_url: str) -> None:
        self._settings = Settings(model=MODELS[0], ledger=Ledger(url=SecretStr(redis_url)))
        self._spans = RedisSpans(connect(self._settings.ledger), self._settings)
        self._over = threading.Event()
        self._going = threading.Event()
        self._thread: threading.Thread | None = None
        self.ended_at: dict[str, float] = {}

    def submit(self, count: int) -> list[str]:
        """So many jobs that wait; their ids."""

        async def some() -> list[str]:
            jobs = RedisJobs(connect_async(self._settings.ledger), self._settings)
            todo, made = iter(range(count)), dict[int, str]()

            async def one() -> None:
                for number in todo:
                    job, _ = await jobs.submit(_submission())
                    made[number] = job.id

            await asyncio.gather(*(one() for _ in range(AT_ONCE)))
            await jobs.close()
            return [made[number] for number in sorted(made)]

        return asyncio.run(some())

    def be_there(self, per_s: float, *, most: int) -> None:
        """Say that the worker lives; when told to begin, end so many jobs a second, *most* at all."""
        self._thread = threading.Thread(target=self._run, args=[per_s, most])
        self._thread.start()

    def begin(self) -> None:
        """End jobs from now on."""
        self._going.set()

    def stop(self) -> None:
        """End no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, per_s: float, most: int) -> None:
        info = WorkerInfo(
            id="mover", models=MODELS, engine="stub", device="cpu", compute_type="int8", slots=8, host="here", pid=1,
            started_at=1_700_000_000.0, rate=5.0,
        )  # fmt: skip
        due = time.monotonic()
        while len(self.ended_at) < most and not self._over.wait(max(0.0, due - time.monotonic())):
            due += 1 / per_s
            self._spans.register(info)
            claim = self._spans.claim(info.id, models=MODELS, extras=True) if self._going.is_set() else None
            if claim is not None:
                piece = Piece(Span(0.0, WINDOW_S), (Span(0.5, WINDOW_S - 0.5),))
                self._spans.prepared(claim, [piece], language="en", probability=0.9)
                self._spans.append(claim, WINDOW, window=0, audio_s=WINDOW_S)
                self.ended_at |= dict.fromkeys(self._spans.jobs(claim), time.time())
                self._spans.finish(claim, Timing(audio_s=WINDOW_S, compute_s=5.0))


def _submission() -> Submission:
    name = uuid.uuid4().hex
    return Submission(
        job_id=name,
        tenant="default",
        audio=Audio(sha256=name * 2, bytes=1_000_000, duration_s=WINDOW_S, filename="recording.mp3"),
        model=MODELS[0],
        revision="r1",
        options=Options(),
    )
