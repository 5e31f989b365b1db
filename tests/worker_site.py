"""A worker that does one step when a test says so, in this process, and what it works for."""

from dataclasses import dataclass
from typing import Any

from celery import Celery

from demo import SAMPLES
from tests.ledger_client import LedgerClient
from tests.live_api import live_api
from tests.platform import eventually
from transcription.job import Job
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Settings
from worker.consumer.span_results import GivenUp, SpanResult
from worker.runtime import WorkerRuntime

SHORT = SAMPLES["short"].path.read_bytes()
LONG = SAMPLES["long"].path.read_bytes()


@dataclass
class Site:
    """A worker, and what it works for."""

    worker: WorkerRuntime
    client: LedgerClient
    settings: Settings
    app: Celery

    def submit(self, audio: bytes, **options: Any) -> Job:
        """Hand a recording in over HTTP, as its bytes must be stored."""
        with live_api(self.settings) as api:
            answer = api.post("/v1/jobs", files={"file": ("a.wav", audio)}, data=options)
        assert answer.status_code == 202, answer.text
        return self.client.ask(lambda jobs: jobs.get(answer.json()["id"], tenant="default"))

    def step(self) -> SpanResult | None:
        taken = self.worker.take()
        try:
            return self.worker.work(taken.id) if taken else None
        except GivenUp:
            return None

    def steps(self) -> int:
        """Take steps until there is nothing to claim; how many spans were finished."""
        count = 0
        while self.step():
            count += 1
        return count

    def come_back(self) -> None:
        """Wait until a delayed span can be claimed again."""
        with connect(self.settings.ledger) as redis:
            spans = RedisSpans(redis, self.settings)
            eventually(spans.pending, within_s=20)
