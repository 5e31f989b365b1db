"""Each metric says what was counted, under its own name; every number here is another one."""

import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter, Summary

from api.metrics import process
from api.metrics.ledger import LedgerFigures
from api.metrics.process import ApiMetrics
from tests.memory_jobs import WORKER
from transcription.job import Outcome, Status
from transcription.options import Priority
from transcription.ports import Backlog, Lane, Latency, Server, Waiting

WORKERS = (
    replace(WORKER, id="w1", slots=4, rate=10.0, running=1),
    replace(WORKER, id="w2", slots=2, rate=30.0, running=2, draining=True),
    replace(WORKER, id="w3", slots=1, rate=None, quarantine="the card is gone"),
)
COUNTERS = {
    "new": 101, "joined": 102, "cached": 103, "computations_completed": 104, "computations_failed": 105,
    "computations_canceled": 106, "decode_ms": 1500, "vad_ms": 2500, "compute_ms": 3500, "audio_ms": 4500,
    "claimed": 107, "retried": 108, "faults": 109, "reaped": 110, "released": 111, "webhooks_delivered": 112,
    "webhooks_failed": 113, "webhooks_gone": 115, "webhooks_given_up": 114,
}  # fmt: skip
BACKLOG = Backlog(
    pending_spans=3,
    pending_audio_s=0,
    running_spans=5,
    running_audio_s=7.5,
    oldest_age_s=None,
    dead=9,
    messages=11,
    messages_overdue=13,
    jobs={Status.QUEUED: 15, Status.FAILED: 17},
    counters=COUNTERS,
    workers=WORKERS,
    waiting={Priority.BATCH: Waiting(19, 21.5, 23.5), Priority.INTERACTIVE: Waiting(25, 27.5, None)},
    failures={"engine_failed": 29, "of a later version": 31},
    warnings={"truncated": 33},
    lanes={"de": Lane(0, 0.0, 35), "en": Lane(1, 1.0, 37)},
    latencies={
        ("wait", Priority.BATCH): Latency((("1.0", 1), ("+Inf", 2)), 39.5),
        ("transcript", Priority.BATCH): Latency((("1.0", 3), ("+Inf", 4)), 41.5),
    },
)
EXPECTED = {
    "murmur_ledger_up": 1,
    "murmur_queue_recordings{batch}": 19,
    "murmur_queue_recordings{interactive}": 25,
    "murmur_queue_audio_seconds{batch}": 21.5,
    "murmur_queue_audio_seconds{interactive}": 27.5,
    "murmur_queue_oldest_seconds{batch}": 23.5,
    "murmur_queue_oldest_seconds{interactive}": 0,
    "murmur_queue_spans": 3,
    "murmur_queue_unserved_recordings": 72,
    "murmur_spans_running": 5,
    "murmur_running_audio_seconds": 7.5,
    "murmur_dead_letters": 9,
    "murmur_jobs{queued}": 15,
    "murmur_jobs{failed}": 17,
    "murmur_workers": 3,
    "murmur_workers_quarantined": 1,
    "murmur_slots": 7,
    "murmur_capacity_audio_seconds_per_second": 40,
    "murmur_workers_busy": 1,
    "murmur_worker_speed_audio_seconds_per_second": 20,
    "murmur_recordings_submitted_total{new}": 101,
    "murmur_recordings_submitted_total{joined}": 102,
    "murmur_recordings_submitted_total{cached}": 103,
    "murmur_computations_total{completed}": 104,
    "murmur_computations_total{failed}": 105,
    "murmur_computations_total{canceled}": 106,
    "murmur_failures_total{engine_failed}": 29,
    "murmur_failures_total{of a later version}": 31,
    "murmur_failures_total{worker_lost}": 0,
    "murmur_result_warnings_total{truncated}": 33,
    "murmur_result_warnings_total{damaged}": 0,
    "murmur_span_seconds_total{decode}": 1.5,
    "murmur_span_seconds_total{vad}": 2.5,
    "murmur_span_seconds_total{compute}": 3.5,
    "murmur_audio_seconds_total": 4.5,
    "murmur_claims_total": 107,
    "murmur_retries_total": 108,
    "murmur_platform_faults_total": 109,
    "murmur_reaps_total": 110,
    "murmur_releases_total": 111,
    "murmur_webhooks_pending": 11,
    "murmur_webhooks_overdue": 13,
    "murmur_webhook_attempts_total{delivered}": 112,
    "murmur_webhook_attempts_total{failed}": 113,
    "murmur_webhook_attempts_total{gone}": 115,
    "murmur_webhooks_given_up_total": 114,
    "murmur_wait_seconds_sum{batch}": 39.5,
    "murmur_wait_seconds_count{batch}": 2,
    "murmur_transcript_seconds_sum{batch}": 41.5,
    "murmur_transcript_seconds_count{batch}": 4,
    "murmur_backup_last_success_timestamp_seconds": 43.5,
    "murmur_backup_interval_seconds": 45.5,
}


def shown(registry: CollectorRegistry) -> dict[str, float]:
    """Every sample by its name, with the values of its labels."""
    return {
        sample.name + (f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def of_ledger(backlog: Backlog | None, server: Server | None) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(LedgerFigures(backlog, server))
    return shown(registry)


def test_every_figure_of_the_ledger_is_told_under_its_own_name() -> None:
    found = of_ledger(BACKLOG, Server(info={}, backup_at=43.5, backup_every_s=45.5))
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED


def test_ledger_of_which_half_is_known_is_not_up_and_says_that_half() -> None:
    assert of_ledger(BACKLOG, None)["murmur_ledger_up"] == 0
    assert of_ledger(BACKLOG, None)["murmur_workers"] == 3
    assert of_ledger(None, None)["murmur_ledger_up"] == 0
    nobody_measured = replace(BACKLOG, workers=WORKERS[2:])
    assert "murmur_worker_speed_audio_seconds_per_second" not in of_ledger(nobody_measured, None)


def test_what_a_process_counted_is_told_under_its_own_name() -> None:
    api = ApiMetrics()
    api.submitted(Outcome.NEW, audio_bytes=7, seconds=0.25)
    api.submitted(Outcome.CACHED, audio_bytes=9, seconds=0.75)
    api.refused("too_large")
    for seconds in (0.1, 0.2):
        api.ledger.times.add(seconds)
    api.machine(memory_percent=40, disk_free=3, disk=5)
    for status in (200, 503, 503):
        api.answered(method="GET", route="/health", status=status, seconds=2.0)
    found = shown(api.whole())
    expected = {
        "murmur_submits_total{new}": 1,
        "murmur_submits_total{cached}": 1,
        "murmur_upload_bytes_total": 16,
        "murmur_submit_duration_seconds_sum": 1.0,
        "murmur_rejects_total{too_large}": 1,
        "murmur_memory_used_ratio": 0.4,
        "murmur_disk_free_bytes": 3,
        "murmur_disk_bytes": 5,
        "murmur_http_requests_total{GET,/health,200}": 1,
        "murmur_http_requests_total{GET,/health,503}": 2,
        "murmur_http_request_duration_seconds_sum{GET,/health}": 6.0,
        "murmur_api_process_starts_total": 1,
        "murmur_ledger_answer_duration_seconds_count": 2,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert not [name for name in found if "_created" in name]
    assert (api.accepted, api.rejected, api.mean_submit_ms) == (2, 1, 500.0)


def test_before_the_first_submit_there_is_no_mean_time() -> None:
    assert (ApiMetrics().accepted, ApiMetrics().mean_submit_ms) == (0, 0.0)


def test_processes_of_one_api_are_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    others = CollectorRegistry()
    for name, count in (("murmur_submits", 4), ("murmur_rejects", 3)):
        Counter(name, "All processes together.", registry=others).inc(count)
    Summary("murmur_submit_duration_seconds", "All processes together.", registry=others).observe(2.0)
    families: list[object] = []
    monkeypatch.setattr(process, "_AllProcesses", lambda: others)
    monkeypatch.setattr(process, "ProcessCollector", lambda family: families.append(family) or CollectorRegistry())
    api = ApiMetrics()
    api.refused("too_large")
    assert shown(api.whole())["murmur_rejects_total{too_large}"] == 1
    monkeypatch.setenv(process.SHARED, "/shared")
    assert shown(api.whole())["murmur_rejects_total"] == 3
    assert (api.accepted, api.rejected, api.mean_submit_ms) == (4, 3, 500.0)
    assert families == [None, process._family]


def test_what_processes_have_in_work_is_added_up_and_the_machine_is_told_once() -> None:
    api = ApiMetrics()
    adding, once = [api.in_flight, api.submits_in_flight], [api._memory, api._disk_free, api._disk]
    assert {gauge._multiprocess_mode for gauge in adding} == {"livesum"}, "processes that died have nothing in work"
    assert {gauge._multiprocess_mode for gauge in once} == {"mostrecent"}


def test_family_of_an_api_s_processes_is_the_parent_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, *children = process._family()
    assert parent.pid == os.getppid()
    assert os.getpid() in {child.pid for child in children}

    def gone(_: int) -> None:
        raise psutil.NoSuchProcess(1)

    own = psutil.Process()
    monkeypatch.setattr(psutil, "Process", lambda *pid: gone(*pid) if pid else own)
    assert process._family() == [own]


def test_a_process_that_has_just_begun_to_count_breaks_no_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prometheus_client makes a file, and gives it its size a moment later."""
    monkeypatch.setenv(process.SHARED, str(tmp_path))
    (tmp_path / "counter_1.db").touch()
    assert list(process._AllProcesses().collect()) == []
