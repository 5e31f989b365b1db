"""A worker's meters and its endpoint."""

import urllib.request
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.free_port import free_port
from tests.platform import eventually
from transcription.computation import Claim, Timing
from transcription.options import Priority
from worker.batcher import Batcher, Key
from worker.metrics import counters, endpoint
from worker.metrics.address import address
from worker.pipelines.clock import Clock


def value(name: str, **labels: str) -> float:
    return counters.REGISTRY.get_sample_value(name, labels) or 0.0


def rise(name: str, **labels: str) -> Callable[[], float]:
    before = value(name, **labels)
    return lambda: value(name, **labels) - before


class Doubling:
    """Two stages; rows are lists of one number."""

    splits = False

    def limit(self, stage: int) -> int:
        return 4

    def compute(self, key: Key, rows: list[list[int]]) -> list[Key | None]:
        for row in rows:
            row[0] *= 2
        return [Key(1) if key.stage == 0 else None for _ in rows]


def test_every_batch_counts_its_rows_and_the_room_it_had() -> None:
    rows, places, busy = (
        rise("murmur_worker_batch_rows_total", stage="1"),
        rise("murmur_worker_batch_places_total", stage="1"),
        rise("murmur_worker_model_busy_seconds_total"),
    )
    workers = rise("murmur_worker_model_workers")
    batcher: Batcher[list[int]] = Batcher(Doubling(), workers=2, capacity=8)
    assert workers() == 2
    futures = [batcher.submit([n], Key(0), owner="a", cancelled=lambda: False) for n in range(6)]
    assert [future.result(5) for future in futures] == [[4 * n] for n in range(6)]
    eventually(lambda: rows() == 6)
    assert places() % 4 == 0
    assert places() >= 8
    assert busy() > 0
    batcher.close()
    assert workers() == 0


def test_a_committed_span_counts_its_audio_its_time_and_its_real_time_factor() -> None:
    audio, vad = rise("murmur_worker_audio_seconds_total"), rise("murmur_worker_stage_seconds_total", stage="vad")
    factors, of_all = (
        rise("murmur_worker_real_time_factor_bucket", le="0.1"),
        rise("murmur_worker_real_time_factor_count"),
    )
    counters.finished(Timing(audio_s=100.0, decode_s=1.0, vad_s=2.0, compute_s=4.0))
    counters.finished(Timing(audio_s=0.0))
    assert (audio(), vad(), factors(), of_all()) == pytest.approx((100.0, 2.0, 1, 1))
    counters.diarized(Timing(audio_s=100.0, compute_s=4.0))
    assert audio() == pytest.approx(100.0), "where it is transcribed it counts already"


def test_a_stage_that_is_gone_through_in_parts_took_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = Clock(), SimpleNamespace()
    monkeypatch.setattr("worker.pipelines.clock.time", now)
    for start, end in ((0.0, 1.0), (5.0, 7.0)):
        now.perf_counter = lambda at=start: at
        with clock.measure("compute"):
            now.perf_counter = lambda at=end: at
    assert clock.timing(audio_s=9.0).compute_s == 3.0


def test_a_recording_took_until_its_last_span_was_computed() -> None:
    claim = cast("Claim", SimpleNamespace(age_s=100.0, priority=Priority.BATCH))
    seconds = rise("murmur_transcript_duration_seconds_sum", priority=claim.priority.value)
    counters.transcribed(claim, held_s=30.0)
    assert seconds() == pytest.approx(130.0)


def test_a_model_that_cannot_be_loaded_counts_as_an_error() -> None:
    errors = rise("murmur_worker_model_loads_total", result="error")
    with pytest.raises(OSError, match="gone"), counters.loading():
        raise OSError("gone")
    assert errors() == 1


@pytest.mark.parametrize(
    ("told", "port", "ledger", "found"),
    [
        ("", 9464, "redis://127.0.0.1:6379/0", ""),
        ("auto", 0, "redis://127.0.0.1:6379/0", ""),
        ("auto", 9464, "redis://127.0.0.1:6379/0", "host.docker.internal:9464"),
        ("auto", 9464, "unix:///run/ledger.sock", "host.docker.internal:9464"),
        ("auto", 9464, "redis://[::1]:6379/0", "host.docker.internal:9464"),
        ("auto", 9464, "redis://nowhere.invalid/0", ""),
        ("mini.example.org", 9465, "redis://127.0.0.1:6379/0", "mini.example.org:9465"),
        ("fd00::7", 9464, "redis://127.0.0.1:6379/0", "[fd00::7]:9464"),
    ],
)
def test_a_worker_outside_the_containers_says_where_prometheus_finds_it(
    told: str, port: int, ledger: str, found: str
) -> None:
    assert address(told, port, ledger_url=ledger) == found


def test_workers_of_one_machine_that_are_named_to_prometheus_have_a_port_each() -> None:
    state, first = endpoint.State(held=0, slots=1, models=0), free_port()
    ports = [endpoint.serve(first, f"w{number}@here", lambda: state, ports=16) for number in range(3)]
    assert len(set(ports)) == 3
    for number, port in enumerate(ports):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert f'replica="w{number}@here"' in answer.read().decode()


def test_the_endpoint_tells_the_process_and_its_state_and_a_taken_port_is_no_reason_not_to_work() -> None:
    port = free_port()
    state = endpoint.State(held=3, slots=8, models=1)
    endpoint.serve(0, "w1@here", lambda: state)
    endpoint.serve(port, "w1@here", lambda: state)
    endpoint.serve(port, "w1@here", lambda: state)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(answer.read().decode())
            for sample in family.samples
        }
    assert found["murmur_worker_spans_held"] == 3
    assert found["process_resident_memory_bytes"] > 10 << 20
    assert "murmur_worker_model_loads_total" in found


def test_each_part_that_keeps_a_worker_from_claiming_has_a_figure_and_the_well_ones_too() -> None:
    state = endpoint.State(held=0, slots=1, models=0, unfit=("storage", "model base"))
    found = endpoint.registry("w1@here", lambda: state)
    parts = ("storage", "scratch", "model base")
    figures = [found.get_sample_value("murmur_worker_quarantined", {"part": part}) for part in parts]
    assert figures == [1.0, 0.0, 1.0]
