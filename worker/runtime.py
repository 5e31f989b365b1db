"""The worker process: everything in it that lives as long as it does, and one step of work."""

import os
import random
import socket
import threading
import time
from dataclasses import dataclass

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from transcription.errors import Fault, LeaseLost, LedgerUnavailable, MurmurationError, Stopped
from transcription.lanes import traits
from transcription.ledger.broker import QUEUE, CeleryQueue
from transcription.ledger.connections import connect, connect_broker
from transcription.ledger.span_store import RedisSpans
from transcription.media.decoder import Decoder
from transcription.observability.tracing import open_traces
from transcription.ports import WorkerInfo
from transcription.retry import History, Patience, Retry, classified, decide
from transcription.settings import Settings
from transcription.storage.stores import open_blobs
from worker.leases import Held, Leases
from worker.maintenance import Maintenance
from worker.metrics import counters, endpoint
from worker.model_cache import ModelCache
from worker.pipeline import Pipeline
from worker.probes import Probes
from worker.quarantine import Quarantine
from worker.webhook_dispatcher import WebhookDispatcher

log = structlog.get_logger()

EXIT_NO_MEMORY = 71
EXIT_DELAY_S = 3.0
RATE_MEMORY = 0.8
WAITING_PROBED = 2
"""Recordings of each class that wait, to look at when the store seems to be sick."""


@dataclass(frozen=True, slots=True)
class SpanResult:
    """What one step of work came to; its text is the result line that Flower shows."""

    span: str
    audio_s: float
    real_time_factor: float

    def __str__(self) -> str:
        return f"{self.span} {self.audio_s:.1f} s of audio, real-time factor {self.real_time_factor:.3f}"


class SpanFailed(Exception):
    """A span's attempt failed; the ledger knows already."""


class WorkerRuntime:
    """One worker process. Celery's threads call `step`; the rest happens in its own threads."""

    def __init__(self, name: str, settings: Settings, app: Celery) -> None:
        self.name = name
        self._settings = settings
        self._started_at = time.time()
        self._rate: float | None = None
        self._app = app
        self._client = connect(settings.ledger)
        self._spans = RedisSpans(self._client, settings)
        self._queue = CeleryQueue(app, connect_broker(settings.ledger))
        self._blobs = open_blobs(settings)
        self._models = ModelCache(settings)
        self._traits = traits(
            engine=self._models.engine, device=self._models.device, languages=settings.worker.languages
        )
        self._models_served = tuple(sorted(settings.served))
        self._decoder = Decoder(settings)
        self._pipeline = Pipeline(
            spans=self._spans,
            blobs=self._blobs,
            models=self._models,
            decoder=self._decoder,
            settings=settings,
            rate=lambda: self._rate,
        )
        self._probes = Probes(settings, self._blobs, self._models, lambda: self._spans.waiting_audio(WAITING_PROBED))
        self._quarantine = Quarantine(self._probes, changed=self._consume, limit=settings.worker.quarantine_after)
        self._leases = Leases(self._spans, settings.lease, steps=lambda: self._models.steps, info=self._info)
        self._maintenance = Maintenance(self._spans, self._queue, self._blobs, settings)
        self._webhook_dispatcher = WebhookDispatcher(settings)
        self._traces = open_traces("worker")

    def start(self) -> None:
        """Begin to renew leases and to take care."""
        self._leases.start()
        self._maintenance.start()
        threading.Thread(target=self._decoder.start, name="decoder", daemon=True).start()
        self._webhook_dispatcher.start()
        endpoint.serve(self._settings.worker.metrics_port, self._state)

    def stop(self) -> None:
        """Hand everything back, and end the process soon after; safe to be called from a signal handler."""
        self._maintenance.stop()
        self._webhook_dispatcher.stop()
        self._quarantine.close()
        self._leases.stop()
        threading.Thread(target=self._exit, name="leave", daemon=True).start()

    def _exit(self) -> None:
        # What still runs was handed back: nobody needs its end, and a call into a model can't be interrupted.
        self._leases.join()
        self._traces.close()
        time.sleep(EXIT_DELAY_S)
        os._exit(0)

    def step(self) -> SpanResult | None:
        """
        Claim one span and take it to its end; None when there was nothing to claim, or it was lost on the way.

        Raises:
            SpanFailed: the attempt failed.
        """
        models = self._quarantine.without(self._models_served)
        if not self._leases.open or not models:
            return None
        try:
            extras = self._may_take_extras()
            claim = self._spans.claim(self.name, models=models, extras=extras, traits=self._traits)
        except LedgerUnavailable as error:
            log.warning("ledger unavailable", error=error.message)
            return None
        if claim is None:
            return None
        held = self._leases.add(claim)
        with structlog.contextvars.bound_contextvars(
            request_id=claim.request_id, computation=claim.computation, span=claim.index, token=claim.token
        ):
            try:
                return self._traced(held)
            finally:
                self._leases.remove(held)
                self._send_hint()

    def _traced(self, held: Held) -> SpanResult | None:
        claim = held.claim
        ids = {"murmur.computation": claim.computation, "murmur.request_id": claim.request_id}
        with self._traces.span(
            "span", parent=claim.traceparent, **ids, **{"murmur.span": claim.index, "murmur.attempt": claim.attempt}
        ) as trace:
            done = self._run(held)
            if done:
                trace.set_attributes({"murmur.audio_s": done.audio_s, "murmur.real_time_factor": done.real_time_factor})
            return done

    def _run(self, held: Held) -> SpanResult | None:
        claim = held.claim
        log.info("claimed", attempt=claim.attempt, suspect=claim.suspect, windows_done=claim.windows_done)
        try:
            timing = self._pipeline.run(held)
        except (LeaseLost, Stopped) as error:
            counters.spans.labels("given_up").inc()
            log.info("given up", reason=error.code)
            return None
        except MemoryError:
            # Nothing in this process can be trusted to have room now: it ends, and its spans are suspects.
            log.exception("out of memory; the process exits")
            os._exit(EXIT_NO_MEMORY)
        except Exception as error:  # whatever it is, it's this span's alone
            self._report(held, classified(error))
            raise SpanFailed(f"{claim.name}: {error}") from error
        self._quarantine.passed(model=claim.model)
        counters.finished(timing)
        done = SpanResult(claim.name, timing.audio_s, timing.real_time_factor)
        self._update_rate(timing.audio_s, timing.decode_s + timing.vad_s + timing.compute_s)
        log.info("finished", audio_s=timing.audio_s, real_time_factor=round(timing.real_time_factor, 4))
        return done

    def _report(self, held: Held, error: MurmurationError) -> None:
        claim, lease = held.claim, self._settings.lease
        history = History(attempt=claim.attempt, faults=claim.faults, faulting_s=claim.faulting_s)
        patience = Patience(max_attempts=lease.max_attempts, platform_s=lease.platform_patience_s)
        next_step = decide(error, history, patience, jitter=random.random())
        log.warning("failed", attempt=claim.attempt, fault=error.fault, next=type(next_step).__name__, exc_info=error)
        if error.fault is Fault.PLATFORM:
            counters.spans.labels("platform_fault").inc()
            self._probes.remember(claim.audio_sha256)
            self._quarantine.met(error, model=claim.model)
        else:
            counters.spans.labels("failed").inc()
            self._quarantine.passed(model=claim.model)
        try:
            retry_in_s = next_step.delay_s if isinstance(next_step, Retry) else None
            self._spans.fail(claim, next_step.failure, retry_in_s=retry_in_s)
        except (LeaseLost, Stopped, LedgerUnavailable) as unheard:
            log.info("the failure counts no more", reason=unheard.code)

    def _send_hint(self) -> None:
        """A place is free: see that there is a hint for it."""
        try:
            if self._leases.open and self._spans.pending() and not self._queue.waiting():
                self._queue.hint()
        except LedgerUnavailable:
            return

    def _consume(self, on: bool) -> None:
        """Take hints, or leave them to others."""
        control = self._app.control
        try:
            (control.add_consumer if on else control.cancel_consumer)(QUEUE, destination=[self.name])
        except (OperationalError, RedisError, OSError) as error:
            log.warning("Celery's consumer can't be told", error=str(error))

    def _may_take_extras(self) -> bool:
        """Half of the places stay free for recordings that nobody works on."""
        further = sum(1 for held in self._leases.holding() if not held.claim.whole)
        return further < max(1, self._models.slots // 2)

    def _update_rate(self, audio_s: float, spent_s: float) -> None:
        """Measure this worker's speed: all places together, a moving average."""
        if audio_s < 1 or spent_s <= 0:
            return
        rate = audio_s / spent_s * max(1, len(self._leases.holding()))
        self._rate = rate if self._rate is None else RATE_MEMORY * self._rate + (1 - RATE_MEMORY) * rate

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
            rate=self._rate,
            running=running,
            traits=self._traits,
            quarantine=self._quarantine.reason,
            withdrawn=tuple(sorted(set(self._models_served) - set(self._quarantine.without(self._models_served)))),
        )
