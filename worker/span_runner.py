"""The work on one claimed span: run, traced, and reported as done, failed or given up."""

import os
import random

import structlog

from transcription.errors import Fault, LeaseLost, LedgerUnavailable, MurmurationError, Stopped
from transcription.observability.tracing import Traces
from transcription.ports import SpanStore
from transcription.retry import History, Patience, Retry, classified, decide
from transcription.settings import Lease
from worker.consumer.span_results import GivenUp, SpanFailed, SpanRefused, SpanResult
from worker.health.probes import Probes
from worker.health.quarantine import Quarantine
from worker.leases import Held, Leases
from worker.metrics import counters
from worker.pipelines.diarization import DiarizationPipeline
from worker.pipelines.transcription import Pipeline

log = structlog.get_logger()

EXIT_NO_MEMORY = 71
RATE_MEMORY = 0.8


class SpanRunner:
    """
    Runs claimed spans; threads share it.

    Attributes:
        rate: Seconds of audio that this worker transcribes in a second, all places together; None before the first.
    """

    def __init__(
        self,
        settings: Lease,
        *,
        spans: SpanStore,
        leases: Leases,
        pipeline: Pipeline,
        diarization: DiarizationPipeline,
        quarantine: Quarantine,
        probes: Probes,
        traces: Traces,
    ) -> None:
        self.rate: float | None = None
        self._settings = settings
        self._spans = spans
        self._leases = leases
        self._pipeline = pipeline
        self._diarization = diarization
        self._quarantine = quarantine
        self._probes = probes
        self._traces = traces

    def run(self, held: Held) -> SpanResult:
        """
        Take a claimed span to its end.

        Raises:
            SpanFailed: the attempt failed; SpanRefused: by its client's fault.
            GivenUp: it was lost or canceled on the way.
        """
        claim = held.claim
        ids = {"murmur.computation": claim.computation, "murmur.request_id": claim.request_id}
        with self._traces.span(
            "span", parent=claim.traceparent, **ids, **{"murmur.span": claim.index, "murmur.attempt": claim.attempt}
        ) as trace:
            done = self._run(held)
            trace.set_attributes({"murmur.audio_s": done.audio_s, "murmur.real_time_factor": done.real_time_factor})
            return done

    def _run(self, held: Held) -> SpanResult:
        claim = held.claim
        log.info("claimed", attempt=claim.attempt, suspect=claim.suspect, windows_done=claim.windows_done)
        counters.claimed(claim)
        try:
            timing = (self._diarization if claim.diarization else self._pipeline).run(held)
        except (LeaseLost, Stopped) as error:
            counters.spans.labels("given_up").inc()
            log.info("given up", reason=error.code)
            # A write may have heard it before the next renewal does.
            unwanted = held.unwanted or (isinstance(error, Stopped) and not held.lost and not held.handed_back)
            raise GivenUp(error.message, canceled=unwanted) from error
        except MemoryError:
            # Nothing in this process can be trusted to have room now: it ends, and its spans are suspects.
            log.exception("out of memory; the process exits")
            os._exit(EXIT_NO_MEMORY)
        except Exception as error:  # whatever it is, it's this span's alone
            known = classified(error)
            retry_in_s = self._report(held, known)
            failed = SpanRefused if known.fault is Fault.INPUT else SpanFailed
            raise failed(f"{claim.name}: {error}", retry_in_s=retry_in_s) from error
        self._quarantine.passed(model=claim.model)
        done = SpanResult(claim.name, timing.audio_s, timing.real_time_factor)
        if claim.diarization:
            counters.diarized(timing)
        else:
            counters.finished(timing)
            self._update_rate(timing.audio_s, timing.decode_s + timing.vad_s + timing.compute_s)
        log.info("finished", audio_s=timing.audio_s, real_time_factor=round(timing.real_time_factor, 4))
        return done

    def _report(self, held: Held, error: MurmurationError) -> float | None:
        """Tell the ledger of a failed attempt; in how many seconds the next one is due, None: there is none."""
        claim, lease = held.claim, self._settings
        history = History(attempt=claim.attempt, faults=claim.faults, faulting_s=claim.faulting_s)
        patience = Patience(max_attempts=lease.max_attempts, platform_s=lease.platform_patience_s)
        next_step = decide(error, history, patience, jitter=random.random())
        facts = {"code": error.code, "fault": error.fault, "next": type(next_step).__name__}
        if error.fault is Fault.INPUT:  # nothing of ours is wrong, so there is nothing to look for
            log.info("failed", attempt=claim.attempt, **facts, error=error.message)
        else:
            log.warning("failed", attempt=claim.attempt, **facts, exc_info=error)
        if error.fault is Fault.PLATFORM:
            counters.spans.labels("platform_fault").inc()
            self._probes.remember(claim.audio_sha256)
            self._quarantine.met(error, model=claim.model)
        else:
            counters.spans.labels("failed").inc()
            self._quarantine.passed(model=claim.model)
        retry_in_s = next_step.delay_s if isinstance(next_step, Retry) else None
        try:
            self._spans.fail(claim, next_step.failure, retry_in_s=retry_in_s)
        except (LeaseLost, Stopped, LedgerUnavailable) as unheard:
            log.info("the failure counts no more", reason=unheard.code)
        return retry_in_s

    def _update_rate(self, audio_s: float, spent_s: float) -> None:
        """Measure this worker's speed: all places together, a moving average."""
        if audio_s < 1 or spent_s <= 0:
            return
        rate = audio_s / spent_s * max(1, len(self._leases.holding()))
        self.rate = rate if self.rate is None else RATE_MEMORY * self.rate + (1 - RATE_MEMORY) * rate
