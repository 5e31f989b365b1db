"""What this process has counted since it started: one process, one registry, so the meters are the module's own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from transcription.computation import Claim, Timing
from transcription.ledger.connections.answer_times import BOUNDS_S
from transcription.options import Priority

REGISTRY = CollectorRegistry()
# so that all processes show the same series
disable_created_metrics()  # type: ignore[no-untyped-call]

spans = Counter("murmur_worker_spans", "Spans processed, by outcome.", ("outcome",), registry=REGISTRY)
audio_seconds = Counter("murmur_worker_audio_seconds", "Audio of committed spans.", registry=REGISTRY)
real_time_factor = Histogram(
    "murmur_worker_real_time_factor",
    "Processing time of each committed span per second of its audio, including the wait for other spans in its batch.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
    registry=REGISTRY,
)
stage_seconds = Counter(
    "murmur_worker_stage_seconds", "Time in each stage, all threads together.", ("stage",), registry=REGISTRY
)
busy_seconds = Counter(
    "murmur_worker_model_busy_seconds", "Time that model workers spent computing.", registry=REGISTRY
)
model_workers = Gauge(
    "murmur_worker_model_workers", "Batches that can be computed at the same time.", registry=REGISTRY
)
batches = Counter("murmur_worker_batches", "Batches computed.", ("stage",), registry=REGISTRY)
rows = Counter("murmur_worker_batch_rows", "Windows in those batches.", ("stage",), registry=REGISTRY)
places = Counter(
    "murmur_worker_batch_places", "Windows that those batches had room for.", ("stage",), registry=REGISTRY
)
model_loads = Counter(
    "murmur_worker_model_loads", "Attempts to load a model, by result.", ("result",), registry=REGISTRY
)
model_load_duration = Histogram(
    "murmur_worker_model_load_duration_seconds",
    "Time that an attempt to load a model took.",
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
    registry=REGISTRY,
)

ledger_answers = Histogram(
    "murmur_ledger_answer_duration_seconds",
    "Time that the ledger took to answer, without the wait for a connection that other threads use.",
    buckets=BOUNDS_S,
    registry=REGISTRY,
)

_LATENCIES_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400)
wait = Histogram(
    "murmur_wait_duration_seconds",
    "Time from a recording's submission to its first claim.",
    ("priority",),
    buckets=_LATENCIES_S,
    registry=REGISTRY,
)
transcript = Histogram(
    "murmur_transcript_duration_seconds",
    "Time from a recording's submission to its whole transcript.",
    ("priority",),
    buckets=_LATENCIES_S,
    registry=REGISTRY,
)
for _priority in Priority:
    wait.labels(_priority.value)
    transcript.labels(_priority.value)
for _outcome in ("finished", "failed", "platform_fault", "given_up"):
    spans.labels(_outcome)
for _result in ("ok", "error"):
    model_loads.labels(_result)


def claimed(claim: Claim) -> None:
    """Count how long a recording waited, at its first claim."""
    if claim.waited_s is not None:
        wait.labels(claim.priority.value).observe(claim.waited_s)


def transcribed(claim: Claim, *, held_s: float) -> None:
    """Count how long a recording took that is complete with this span, which was held for *held_s*."""
    if claim.age_s is not None:
        transcript.labels(claim.priority.value).observe(claim.age_s + held_s)


def finished(timing: Timing) -> None:
    """Count a committed span."""
    spans.labels("finished").inc()
    audio_seconds.inc(timing.audio_s)
    if timing.audio_s > 0:
        real_time_factor.observe(timing.real_time_factor)
    stage_seconds.labels("audio").inc(timing.decode_s)
    stage_seconds.labels("vad").inc(timing.vad_s)


def diarized(timing: Timing) -> None:
    """Count a committed span of a diarization; its audio is counted where it is transcribed."""
    spans.labels("finished").inc()
    stage_seconds.labels("speakers").inc(timing.compute_s)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the block's time to the stage *name*."""
    began = time.perf_counter()
    try:
        yield
    finally:
        stage_seconds.labels(name).inc(time.perf_counter() - began)


@contextmanager
def loading() -> Iterator[None]:
    """Count the model that the block loads."""
    began, result = time.perf_counter(), "error"
    try:
        yield
        result = "ok"
    finally:
        model_loads.labels(result).inc()
        model_load_duration.observe(time.perf_counter() - began)


@contextmanager
def batch(number: int, *, size: int, room: int) -> Iterator[None]:
    """
    Count the batch that the block computes.

    Args:
        number: The stage; an `IntEnum`'s member counts under its name.
        size: Rows in it.
        room: Rows that there was room for.
    """
    name = getattr(number, "name", str(number)).lower()
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - began
        stage_seconds.labels(name).inc(seconds)
        busy_seconds.inc(seconds)
        batches.labels(name).inc()
        rows.labels(name).inc(size)
        places.labels(name).inc(max(room, size))
