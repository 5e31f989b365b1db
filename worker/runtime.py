"""The worker process: everything in it that lives as long as it does."""

import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery

from transcription.computation import Claim
from transcription.errors import LedgerUnavailable
from transcription.housekeeping.maintenance import Maintenance
from transcription.housekeeping.webhook_dispatcher import WebhookDispatcher
from transcription.lanes import suits, traits
from transcription.ledger.broker import CeleryQueue
from transcription.ledger.connections.shared_connection import shared_client
from transcription.ledger.span_store import RedisSpans
from transcription.media.decoder import Decoder
from transcription.observability.build import build
from transcription.observability.tracing import open_traces
from transcription.ports import JobQueue, SpanStore, WorkerInfo
from transcription.settings import Settings
from transcription.storage.stores import open_blobs
from worker.consumer.celery_internals import ConsumedQueues
from worker.consumer.queues import Queues
from worker.consumer.span_results import SpanResult
from worker.diarizers.choice import ChosenDiarizer
from worker.health.admission import Admission
from worker.health.probes import Probes
from worker.health.quarantine import Quarantine
from worker.host_heartbeat import HostHeartbeat
from worker.leases import Held, Leases
from worker.metrics import counters, endpoint
from worker.metrics.address import PORTS, address
from worker.model_cache import ModelCache
from worker.pipelines.diarization import DiarizationPipeline
from worker.pipelines.sounds import Sounds
from worker.pipelines.transcription import Pipeline
from worker.revisions import Revisions
from worker.span_runner import SpanRunner

log = structlog.get_logger()

EXIT_DELAY_S = 3.0
WAITING_PROBED = 2
"""Recordings of each class that wait, to look at when the store seems to be sick."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A claimed span as Celery's events and Flower show it: a task whose id begins with its first job's."""

    id: str
    priority: str
    retries: int
    shown: dict[str, Any]


class WorkerRuntime:
    """One worker process. Celery's consumer calls `take`, its threads `work`; the rest happens in its own threads."""

    def __init__(self, name: str, settings: Settings, app: Celery, queues: ConsumedQueues) -> None:
        self.name = name
        self._settings = settings
        self._started_at = time.time()
        self._metrics_at = ""
        ledger = shared_client(settings.ledger.url.get_secret_value(), answered=counters.ledger_answers.observe)
        self._spans: SpanStore = RedisSpans(ledger, settings)
        self._queue: JobQueue = CeleryQueue(app, shared_client(settings.ledger.broker()))
        self._blobs = open_blobs(settings)
        self._models = ModelCache(settings)
        self._traits = traits(
            engine=self._models.engine, device=self._models.device, languages=settings.worker.languages
        )
        self._models_served = tuple(sorted(settings.served))
        self._decoder = Decoder(settings)
        sounds = Sounds(self._blobs, self._decoder, settings)
        pipeline = Pipeline(
            spans=self._spans, sounds=sounds, models=self._models, settings=settings, rate=lambda: self._runner.rate
        )
        self._diarizer = ChosenDiarizer(settings)
        diarization = DiarizationPipeline(
            spans=self._spans,
            sounds=sounds,
            diarizer=self._diarizer,
            settings=settings,
            more=lambda claim: self._queue.hint(settings.lane(claim.model)),
        )
        self._queues = Queues(queues, models=self._computes, waiting=self._spans.waiting_lanes, suits=self._suits)
        self._admission = Admission()
        self._taken: dict[str, deque[Held]] = {}
        self._leaving = False
        self._revisions = Revisions(self._models.revision, self._models_served)
        probes = Probes(
            settings, self._blobs, self._models, lambda: self._spans.waiting_audio(WAITING_PROBED), self._diarizer.get
        )
        self._quarantine = Quarantine(
            probes, self._computes, changed=self._queues.consume, limit=settings.worker.quarantine_after
        )
        self._leases = Leases(
            self._spans, settings.lease, steps=lambda: self._models.steps, calls=self._models.calls, info=self._info,
            host=HostHeartbeat(
                settings.ledger.url.get_secret_value(), every_s=settings.lease.renew_s,
                register=self._spans.register, register_all=self._spans.register_all,
            ),
        )  # fmt: skip
        self._webhook_dispatcher = WebhookDispatcher(settings, listens=False)
        # No results: only who reads them, the API, moves them to the store. A worker's disk may be another one.
        self._maintenance = Maintenance(
            self._spans, self._queue, self._blobs, settings, webhooks=self._webhook_dispatcher.wake
        )
        self._traces = open_traces("worker")
        self._runner = SpanRunner(
            settings.lease, spans=self._spans, leases=self._leases, pipeline=pipeline, diarization=diarization,
            quarantine=self._quarantine, probes=probes, traces=self._traces,
        )  # fmt: skip

    def start(self) -> None:
        """Begin to renew leases and to take care."""
        # Before anybody hears of this worker: what is submitted then has its place in the cache.
        self._revisions.check()
        self._revisions.start()
        self._metrics_at = self._serve_metrics()
        self._leases.start()
        self._maintenance.start()
        threading.Thread(target=self._decoder.start, name="decoder", daemon=True).start()
        if self._settings.worker.webhooks:
            self._webhook_dispatcher.start()
        self._queues.start()

    def stop(self, *, at_once: bool = False) -> None:
        """
        Finish what is held for up to ``drain_s``, hand back the rest, and end the process soon after.

        *at_once*, or at the second call, everything is handed back at once. Safe to be called from a signal handler.
        """
        if not self._leases.is_alive():
            return
        finishes = self._settings.worker.drain_s > 0 and not at_once and not self._leases.draining
        (self._leases.drain if finishes else self._leases.stop)()
        if self._leaving:
            return
        self._leaving = True
        self._queues.stop()
        self._maintenance.stop()
        self._webhook_dispatcher.stop()
        self._quarantine.close()
        threading.Thread(target=self._exit, name="leave", daemon=True).start()

    def join(self) -> None:
        """Wait until everything has been handed back, but not for long."""
        self._leases.join(EXIT_DELAY_S)

    def _exit(self) -> None:
        if self._leases.draining and self._leases.drained(self._settings.worker.drain_s):
            log.info("drained")
        self._leases.stop()
        # What still runs was handed back: nobody needs its end, and a call into a model can't be interrupted.
        self._leases.join()
        self._traces.close()
        time.sleep(EXIT_DELAY_S)
        os._exit(0)

    def take(self) -> Taken | None:
        """Claim a span, whose work must follow with the same id; None when there is nothing to claim."""
        models = self._quarantine.without(self._computes)
        if not self._leases.open or not models or not self._admission.room(held=len(self._leases.holding())):
            return None
        try:
            extras = self._may_take_extras()
            claim = self._spans.claim(self.name, models=models, extras=extras, traits=self._traits)
            if claim is None:
                return None
            held = self._leases.add(claim)
        except LedgerUnavailable as error:
            log.warning("ledger unavailable", error=error.message)
            return None
        taken = _taken(claim)
        self._taken.setdefault(taken.id, deque()).append(held)
        return taken

    def work(self, task_id: str) -> SpanResult:
        """
        Take a span that `take` has claimed to its end.

        Raises:
            SpanFailed: the attempt failed; SpanRefused: by its client's fault.
            GivenUp: it was lost or canceled on the way.
        """
        waiting = self._taken[task_id]
        held = waiting.popleft()
        if not waiting:
            self._taken.pop(task_id, None)
        claim = held.claim
        with structlog.contextvars.bound_contextvars(
            request_id=claim.request_id,
            job_id=claim.job,
            computation=claim.computation,
            span=claim.index,
            token=claim.token,
        ):
            try:
                return self._runner.run(held)
            finally:
                self._leases.remove(held)

    def in_work(self) -> list[dict[str, Any]]:
        """The spans in work, for `celery inspect spans`."""
        now = time.monotonic()
        return [
            {
                "computation": held.claim.computation,
                "span": held.claim.index,
                "model": held.claim.model,
                "attempt": held.claim.attempt,
                "age_s": round(now - held.claimed_at, 1),
                "windows_done": held.claim.windows_done,
                "idle_s": round(now - held.progressed_at, 1),
                "jobs": self._spans.jobs(held.claim),
            }
            for held in self._leases.holding()
        ]

    def cancel(self, job_id: str) -> str:
        """Cancel a job, as `celery control revoke` asks for it."""
        return self._spans.cancel(job_id)

    @property
    def _computes(self) -> tuple[str, ...]:
        """The models that it serves, and what tells speakers apart."""
        return (*self._models_served, *filter(None, [self._diarizer.model]))

    def _suits(self, lane: str) -> bool:
        return suits(lane, models=self._computes, traits=self._traits)

    def _may_take_extras(self) -> bool:
        """Half of the places stay free for recordings that nobody works on."""
        further = sum(1 for held in self._leases.holding() if not held.claim.whole)
        return further < max(1, self._models.slots // 2)

    def _serve_metrics(self) -> str:
        told = self._settings.worker
        ports = PORTS if told.metrics_address else 1
        port = endpoint.serve(told.metrics_port, self.name, self._state, ports=ports)
        return address(told.metrics_address, port, ledger_url=self._settings.ledger.url.get_secret_value())

    def _state(self) -> endpoint.State:
        held, slots = len(self._leases.holding()), self._models.slots
        return endpoint.State(held=held, slots=slots, models=len(self._models.names()), unfit=self._quarantine.parts)

    def _info(self, running: int) -> WorkerInfo:
        return WorkerInfo(
            id=self.name,
            models=self._models_served,
            engine=self._models.engine,
            device=self._models.device,
            compute_type=self._models.compute_type,
            layout=self._models.layout,
            slots=self._models.slots,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            rate=self._runner.rate,
            running=running,
            traits=self._traits,
            quarantine=self._quarantine.reason,
            diarizer=self._diarizer.name if self._quarantine.without((self._diarizer.model,)) else "",
            withdrawn=tuple(sorted(set(self._models_served) - set(self._quarantine.without(self._models_served)))),
            revisions=self._revisions.known,
            metrics=self._metrics_at,
            version=build().version,
            commit=build().commit,
            draining=self._leases.draining,
        )


def _taken(claim: Claim) -> Taken:
    first = claim.job or claim.computation
    shown = {
        "job": first,
        "span": claim.index,
        "attempt": claim.attempt,
        "model": claim.model,
        "audio_s": round(claim.span.seconds, 1),
    }
    if claim.jobs > 1:
        shown["jobs"] = claim.jobs
    return Taken(id=f"{first}-{claim.index}", priority=claim.priority.value, retries=claim.attempt - 1, shown=shown)
