"""One fault at a time, each on real processes."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.flock import WORKERS, Client, Flock
from tests.chaos.recordings import expected, recording
from tests.platform import eventually
from tests.sse import Sse, everything, following
from transcription.settings import Lease

LEASE = Lease(ttl_s=6, renew_s=1, stall_s=8, max_attempts=2)
SOON_S = 2 if "CHAOS_LONG" in os.environ else 20
"""What is done at once, and on a machine that other tests keep busy."""

ENDED = ("completed", "failed", "canceled")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
long = pytest.mark.skipif("CHAOS_LONG" not in os.environ, reason="`make chaos` runs it: it takes a minute")


@pytest.fixture(scope="module")
def flock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flock]:
    with Flock(tmp_path_factory.mktemp("flock"), lease=LEASE) as running:
        yield running


@pytest.fixture
def client(flock: Flock) -> Iterator[Client]:
    def whole() -> bool:
        flock.restart_exited()
        workers = live(flock)
        # One that took up what the test before had an engine hang at ends by itself, in the middle of the next.
        return len(workers) == len(WORKERS) and not any(worker["running"] for worker in workers)

    eventually(whole, 60, every_s=0.1)
    one = Client(flock)
    yield one
    one.close()


def live(flock: Flock) -> list[dict[str, Any]]:
    # None are told of while the ledger is still coming back from the test before.
    workers: list[dict[str, Any]] = httpx.get(f"{flock.url('api1')}/stats", timeout=5).json().get("workers", [])
    return workers


def ended(client: Client, job_id: str, within_s: float = 60) -> dict[str, object]:
    return eventually(lambda: (job := client.job(job_id, wait=2))["status"] in ENDED and job, within_s)


def submit(client: Client, number: int, seconds: float = 3, **options: str) -> str:
    return client.submit(recording(number, seconds), key=f"{number}-{time.time()}", **options)


def holder(flock: Flock, job_id: str) -> str:
    """The worker that holds the first span of a job, once one does."""
    with flock.redis() as redis:
        computation = redis.hget(f"murmur:job:{job_id}", "comp")
        key = f"murmur:span:{computation}:0"
        eventually(lambda: redis.hget(key, "state") == "running", 20)
        return str(redis.hget(key, "worker")).split("@")[0]


def claimed_after(flock: Flock, job_id: str, at: float) -> float:
    """When a job's first span was claimed anew, once it was; times in Unix seconds."""
    with flock.redis() as redis:
        span = f"murmur:span:{redis.hget(f'murmur:job:{job_id}', 'comp')}:0"
        eventually(lambda: int(redis.hget(span, "claimed") or 0) / 1000 > at, 60)
        return int(redis.hget(span, "claimed") or 0) / 1000


def any_holder(flock: Flock, job_id: str) -> str:
    """A worker that holds one of a job's spans, once one does."""
    with flock.redis() as redis:
        computation = redis.hget(f"murmur:job:{job_id}", "comp")
        held = eventually(
            lambda: [name for name in redis.zrange("murmur:leases", 0, -1) if name.startswith(computation)]
        )
        return str(redis.hget(f"murmur:span:{held[0].replace('/', ':')}", "worker")).split("@")[0]


@pytest.mark.parametrize("crime", ["exit", pytest.param("segfault", marks=long), "eat"])
def test_an_input_that_kills_the_process_fails_alone_and_its_neighbours_finish(
    flock: Flock, client: Client, crime: str
) -> None:
    neighbours = [submit(client, 100 + number, 2, prompt=f"calm {crime}") for number in range(8)]
    poison = submit(client, 99, prompt=crime)

    def tended() -> bool:
        flock.restart_exited()
        return client.job(poison)["status"] in ENDED

    eventually(tended, 120, every_s=0.2)
    failed = client.job(poison)
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "worker_lost"  # type: ignore[index]
    for neighbour in neighbours:
        assert ended(client, neighbour)["status"] == "completed"
    with flock.redis() as redis:
        computation = redis.hget(f"murmur:job:{poison}", "comp")
        assert redis.zscore("murmur:dead", computation) is not None
        redis.zrem("murmur:dead", computation)


def test_a_listener_hears_every_segment_once_though_the_worker_and_then_the_api_are_killed(
    flock: Flock, client: Client, tmp_path: Path
) -> None:
    audio = recording(150, 900)
    job_id = client.submit(audio, key=f"150-{time.time()}", prompt="steady")
    heard: list[Sse] = []

    def listen(api: str, enough: int) -> None:
        with (
            httpx.Client(base_url=flock.url(api), timeout=30) as http,
            following(http, job_id, heard[-1].id if heard else None) as events,
        ):
            for event in events:
                heard.append(event)
                if sum(one.type == "segment" for one in heard) >= enough:
                    return

    listen("api1", 3)
    flock.kill(name := any_holder(flock, job_id))
    listen("api1", 6)
    flock.kill("api1")
    flock.start(name)
    flock.start("api1")
    listen("api2", 10**6)
    with httpx.Client(base_url=flock.url("api2"), timeout=30) as http:
        assert heard == everything(http, job_id)
    segments = sorted((one.data for one in heard if one.type == "segment"), key=lambda segment: segment["start"])
    told = "".join(segment["text"] for segment in segments).strip()
    assert told == client.text(job_id) == expected(audio, tmp_path, span_s=flock.settings.worker.span_s)
    eventually(lambda: flock.ready("api1"), 60)


def test_a_hung_engine_loses_its_lease_and_its_process_and_the_neighbours_finish(flock: Flock, client: Client) -> None:
    hung = submit(client, 200, prompt="hang")
    name = holder(flock, hung)
    gone = flock.processes[name]
    eventually(lambda: gone.poll() is not None, 60)
    assert gone.poll() == 70
    client.cancel(hung)
    flock.restart_exited()
    assert ended(client, submit(client, 201))["status"] == "completed"


@long
def test_an_engine_that_hangs_at_every_attempt_fails_its_job_alone(flock: Flock, client: Client) -> None:
    hung = submit(client, 210, prompt="hang")
    neighbours = [submit(client, 211 + number, 2) for number in range(4)]
    told = time.monotonic()

    def tended() -> bool:
        flock.restart_exited()
        return client.job(hung)["status"] in ENDED

    eventually(tended, 120, every_s=0.2)
    print(f"hang → worker_lost: {time.monotonic() - told:.1f} s")
    failed = client.job(hung)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "worker_lost")  # type: ignore[index]
    for neighbour in neighbours:
        assert ended(client, neighbour)["status"] == "completed"
    with flock.redis() as redis:
        assert redis.zrem("murmur:dead", str(redis.hget(f"murmur:job:{hung}", "comp"))) == 1


@long
def test_spans_of_a_worker_that_never_comes_back_go_on_when_its_lease_ends(tmp_path: Path) -> None:
    took = []
    with Flock(tmp_path, lease=Lease()) as flock:
        client = Client(flock)
        for number in range(220, 222):
            job = submit(client, number, 60, prompt="slow")
            killed = flock.kill(holder(flock, job))
            took.append(claimed_after(flock, job, killed) - killed)
            client.cancel(job)
        client.close()
    print(f"killed for good → claimed by another: {' '.join(f'{one:.1f}' for one in took)} s")
    assert max(took) < 30


def test_an_engine_s_error_is_tried_again_and_then_reported_with_its_code(client: Client) -> None:
    failed = ended(client, submit(client, 300, prompt="raise"))
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "engine_failed"  # type: ignore[index]
    assert failed["attempts"] == LEASE.max_attempts


def test_a_worker_told_to_stop_hands_its_span_back_at_once_without_an_attempt(flock: Flock, client: Client) -> None:
    job = submit(client, 400, prompt="slow")
    name = holder(flock, job)
    told = time.time()
    flock.signal(name, signal.SIGTERM)
    with flock.redis() as redis:
        computation = redis.hget(f"murmur:job:{job}", "comp")
        eventually(lambda: not str(redis.hget(f"murmur:span:{computation}:0", "worker")).startswith(f"{name}@"), 10)
        claimed = int(redis.hget(f"murmur:span:{computation}:0", "claimed") or 0) / 1000
        of_it = [e["what"] for _, e in redis.xrange("murmur:audit") if e.get("comp") == computation]
    print(f"SIGTERM → claimed elsewhere: {claimed - told:.2f} s")
    assert of_it.count("released") == 1  # handed back, not taken over when its lease was over
    assert "reaped" not in of_it
    assert client.job(job)["attempts"] == 1
    eventually(lambda: flock.processes[name].poll() is not None, 10)
    flock.start(name)
    client.cancel(job)


def test_a_worker_with_time_to_finish_ends_its_spans_itself_when_it_is_told_to_stop(
    flock: Flock, client: Client
) -> None:
    name = WORKERS[0]
    flock.env[name] = {"MURMUR_WORKER__DRAIN_S": "60"}
    flock.kill(name)
    at = datetime.now(UTC)
    flock.start(name)

    def ours() -> list[dict[str, object]]:
        """The new process: the ledger remembers the dead one for a while."""
        told: list[dict[str, object]] = httpx.get(f"{flock.url('api1')}/stats", timeout=5).json()["workers"]
        mine = [one for one in told if str(one["id"]).startswith(f"{name}@")]
        return [one for one in mine if datetime.fromisoformat(str(one["started_at"])) > at]

    eventually(ours, 60, every_s=0.1)
    jobs: list[str] = []

    def busy() -> bool:
        jobs.append(submit(client, 420 + len(jobs), prompt="long"))
        return any(one["running"] for one in ours())

    eventually(busy, 60)
    flock.signal(name, signal.SIGTERM)
    eventually(lambda: flock.processes[name].poll() is not None, 60)
    del flock.env[name]
    flock.start(name)
    assert jobs
    for job in jobs:
        assert ended(client, job)["status"] == "completed"
        assert client.job(job)["attempts"] == 1
    with flock.redis() as redis:
        ours = {redis.hget(f"murmur:job:{job}", "comp") for job in jobs}
        of_them = [entry for _, entry in redis.xrange("murmur:audit") if entry.get("comp") in ours]
    assert not {entry["what"] for entry in of_them} & {"released", "reaped"}
    assert any(entry["what"] == "finished" and entry["worker"].startswith(f"{name}@") for entry in of_them)


def test_a_rolling_restart_under_load_counts_no_attempt_and_loses_no_job(flock: Flock, client: Client) -> None:
    jobs = [submit(client, 450 + number, 20) for number in range(24)]
    for name in WORKERS:
        process = flock.processes[name]
        flock.signal(name, signal.SIGTERM)
        eventually(lambda process=process: process.poll() is not None, 15)  # type: ignore[misc]
        flock.start(name)
    for job in jobs:
        assert ended(client, job)["status"] == "completed"
        assert client.job(job)["attempts"] == 1
    with flock.redis() as redis:
        computations = {redis.hget(f"murmur:job:{job}", "comp") for job in jobs}
        reaped = [e for _, e in redis.xrange("murmur:audit") if e["what"] == "reaped" and e["comp"] in computations]
    assert not reaped


def test_a_cancel_frees_the_worker_in_mid_window_and_spares_the_other_ticket(flock: Flock, client: Client) -> None:
    one, two = submit(client, 500, prompt="slow"), submit(client, 500, prompt="slow")
    holder(flock, one)
    with flock.redis() as redis:
        computation = redis.hget(f"murmur:job:{one}", "comp")
        assert computation == redis.hget(f"murmur:job:{two}", "comp")
        assert client.cancel(one) == 200
        lease = redis.zscore("murmur:leases", f"{computation}/0")
        eventually(lambda: redis.zscore("murmur:leases", f"{computation}/0") > lease)  # renewed: the worker has heard
        assert redis.hget(f"murmur:span:{computation}:0", "state") == "running"
        before = time.monotonic()
        assert client.cancel(two) == 200
        # At once, and by this span alone: what other jobs left behind may still be held.
        assert not [name for name in redis.keys("murmur:held:*") if redis.sismember(name, f"{computation}/0")]
        eventually(lambda: all(worker["running"] == 0 for worker in live(flock)), SOON_S)
        lines = len(flock.lines)
        eventually(lambda: any("given up" in line for line in flock.lines[max(0, lines - 50) :]), SOON_S)
    print(f"cancel → worker free: {time.monotonic() - before:.2f} s")


def test_a_cancel_while_no_worker_lives_is_not_forgotten(flock: Flock, client: Client) -> None:
    for name in WORKERS:
        flock.kill(name)
    job = submit(client, 600)
    assert client.cancel(job) == 200
    for name in WORKERS:
        flock.start(name)
    assert ended(client, submit(client, 601))["status"] == "completed"
    assert client.job(job)["status"] == "canceled"


def test_an_unreachable_ledger_is_said_at_once_and_everything_recovers(flock: Flock, client: Client) -> None:
    accepted = submit(client, 700, prompt="calm")
    flock.kill("ledger")
    try:
        for method, path in (("POST", "/v1/jobs"), ("GET", f"/v1/jobs/{accepted}")):
            files = {"file": ("a.wav", recording(701, 2))} if method == "POST" else None
            answer = httpx.request(method, flock.url("api1") + path, files=files, timeout=SOON_S)
            assert answer.status_code == 503
            assert answer.json()["code"] == "ledger_unavailable"
            assert int(answer.headers["retry-after"]) > 0
    finally:
        flock.start("ledger")
    assert ended(client, accepted)["status"] == "completed"
    assert ended(client, submit(client, 702))["status"] == "completed"


def test_an_upload_that_is_cut_off_with_its_api_leaves_nothing_usable(flock: Flock, client: Client) -> None:
    with socket.create_connection(("127.0.0.1", flock.ports["api2"]), timeout=5) as wire:
        head = "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: audio/wav\r\nContent-Length: 9000000\r\n\r\n"
        wire.sendall(head.encode() + b"RIFF" + bytes(3_000_000))
        blobs = flock.settings.blob_dir
        eventually(lambda: list((blobs / "parts").glob("*.part")), 5)
        flock.kill("api2")
    flock.start("api2")
    eventually(lambda: flock.ready("api2"), 30)
    assert all(path.parent.name == "parts" for path in blobs.rglob("*.part"))
    with flock.redis() as redis:
        assert all(job.split(":")[-1] for job in redis.scan_iter("murmur:job:*"))


def test_a_long_recording_is_shared_by_idle_workers_and_merged_without_a_seam(
    flock: Flock, client: Client, tmp_path: Path
) -> None:
    audio = recording(800, 400)
    # So slow that nobody is through with all of it before the others have heard of it.
    job = client.submit(audio, key="long", prompt="steady")
    done = ended(client, job)
    assert done["status"] == "completed"
    assert client.text(job) == expected(audio, tmp_path, span_s=flock.settings.worker.span_s)
    with flock.redis() as redis:
        computation = redis.hget(f"murmur:job:{job}", "comp")
        claims = [e for _, e in redis.xrange("murmur:audit") if e["what"] == "claimed" and e["comp"] == computation]
    assert len({entry["span"] for entry in claims}) > 4
    assert len({entry["worker"] for entry in claims}) > 1
