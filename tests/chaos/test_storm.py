"""The promise, tested by breaking things: no accepted job is lost, stuck or completed twice."""

import os
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest
from redis import Redis

from tests.chaos.flock import Client, Flock
from tests.chaos.recordings import expected
from tests.chaos.storm import Plan, Storm
from tests.platform import eventually
from transcription.settings import Lease

SHORT = Plan(jobs=40, worker_kills=4, ledger_kills=1, stop_s=4.0, pace_s=0.5, window_s=1.0)
LONG = Plan(
    jobs=int(os.environ.get("CHAOS_JOBS", "300")),
    worker_kills=20,
    ledger_kills=3,
    stop_s=25.0,
    pace_s=4.0,
    window_s=3.0,
)
EVERYTHING = Plan(
    jobs=int(os.environ.get("CHAOS_JOBS", "500")),
    worker_kills=10,
    ledger_kills=2,
    stop_s=8.0,
    pace_s=3.0,
    window_s=0.5,
    sick=2,
)
UPLOADS_CUT = 2
"""APIs that are killed in an upload."""
QUICK = Lease(ttl_s=3, renew_s=1, max_attempts=5)
REAL = Lease(max_attempts=5)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_short_storm_loses_and_doubles_nothing(tmp_path: Path) -> None:
    weather(tmp_path, SHORT, QUICK, seed=int(os.environ.get("CHAOS_SEED", "7")), settle_s=90, reclaimed_within_s=15)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.skipif("CHAOS_LONG" not in os.environ, reason="`make chaos` runs it: it takes minutes")
def test_a_long_storm_with_real_leases_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or time.time())
    weather(tmp_path, LONG, REAL, seed=seed, settle_s=600, reclaimed_within_s=30)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.skipif("CHAOS_LONG" not in os.environ, reason="`make chaos` runs it: it takes minutes")
def test_a_storm_of_all_kinds_of_faults_fails_nothing_but_the_poisons(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or time.time())
    print(f"CHAOS_SEED={seed}")
    lease = Lease(ttl_s=5, renew_s=1, stall_s=10, max_attempts=4)
    with Flock(tmp_path / "data", lease=lease, window_s=EVERYTHING.window_s) as flock:
        storm = Storm(flock, EVERYTHING, seed)
        client = Client(flock)
        try:
            storm.run()
            print("faults:", ", ".join(storm.said))
            all_end(client, storm, 600)
            every_transcript_is_the_undisturbed_one(client, storm, tmp_path, flock.settings.worker.span_s)
            assert all(
                client.text(first)
                == client.text(again)
                == expected(audio, tmp_path, span_s=flock.settings.worker.span_s)
                for first, again, audio in storm.repaired
            )
            with flock.redis() as redis:
                spans = Counter((e["comp"], e["span"]) for _, e in audit(redis) if e["what"] == "finished")
                assert set(spans.values()) == {1}
                figures(redis, storm)
        except BaseException:
            print("\n".join(flock.lines[-400:]))
            raise
        finally:
            client.close()


def all_end(client: Client, storm: Storm, within_s: float) -> None:
    """Every job ends as it should, while a supervisor starts again the workers that poisons and hangs end."""
    deadline = time.monotonic() + within_s
    wanted = {one.job_id: "canceled" if one.canceled else "completed" for one in storm.jobs}
    wanted |= dict.fromkeys((job for first, again, _ in storm.repaired for job in (first, again)), "completed")
    wanted |= dict.fromkeys(storm.poisons, "failed")
    for job_id, status in wanted.items():
        while (job := client.job(job_id, wait=1))["status"] in ("queued", "processing"):
            storm.flock.restart_exited()
            assert time.monotonic() < deadline, f"stuck: {job}"
        assert job["status"] == status, job
        if status == "failed":
            assert job["error"]["code"] == "worker_lost", job  # type: ignore[index]


def figures(redis: Redis, storm: Storm) -> None:
    """What the storm was: the line of docs/reliability.md."""
    what = Counter(entry["what"] for _, entry in audit(redis))
    stats = redis.hgetall("murmur:stats")
    seconds = [at for at, _ in audit(redis)]
    print(
        f"jobs {len(storm.jobs)} + {len(storm.poisons)} poisons + {len(storm.repaired)} damaged; "
        f"faults {len(storm.said)}; claims {what['claimed']}; reaped {what['reaped']}; erred {what['erred']}, "
        f"of the platform {stats.get('faults', 0)}; dead letters {redis.zcard('murmur:dead')}; lost, stuck, doubled 0; "
        f"{max(seconds) - min(seconds):.0f} s"
    )


def weather(
    directory: Path, plan: Plan, lease: Lease, *, seed: int, settle_s: float, reclaimed_within_s: float
) -> None:
    print(f"CHAOS_SEED={seed}")
    with Flock(directory / "data", lease=lease, window_s=plan.window_s) as flock:
        storm = Storm(flock, plan, seed)
        storm.run()
        print("faults:", ", ".join(storm.said))
        client = Client(flock)
        try:
            every_accepted_job_ends(client, storm, settle_s)
            every_transcript_is_the_undisturbed_one(client, storm, directory, flock.settings.worker.span_s)
            redis = flock.redis()
            each_span_was_committed_once(redis)
            nothing_is_left_over(redis, flock, plan.clients)
            the_dead_were_replaced(redis, storm, reclaimed_within_s)
            redis.close()
        except BaseException:
            print("\n".join(flock.lines[-400:]))
            raise
        finally:
            client.close()


def every_accepted_job_ends(client: Client, storm: Storm, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    for planned in storm.jobs:
        while (job := client.job(planned.job_id, wait=5))["status"] in ("queued", "processing"):
            assert time.monotonic() < deadline, f"stuck: {job}"
        wanted = "canceled" if planned.canceled else "completed"
        assert job["status"] == wanted, job


def every_transcript_is_the_undisturbed_one(client: Client, storm: Storm, scratch: Path, span_s: float) -> None:
    for planned in storm.jobs:
        if not planned.canceled:
            assert client.text(planned.job_id) == expected(planned.audio, scratch, span_s=span_s)


def audit(redis: Redis) -> list[tuple[float, dict[str, str]]]:
    return [(int(at.split("-")[0]) / 1000, entry) for at, entry in redis.xrange("murmur:audit")]


def each_span_was_committed_once(redis: Redis) -> None:
    entries = [entry for _, entry in audit(redis)]
    finished = Counter((entry["comp"], entry["span"]) for entry in entries if entry["what"] == "finished")
    completed = Counter(entry["comp"] for entry in entries if entry["what"] == "completed")
    assert set(finished.values()) == {1}
    assert set(completed.values()) == {1}
    assert not [entry for entry in entries if entry["what"] == "failed"]


def nothing_is_left_over(redis: Redis, flock: Flock, clients: int) -> None:
    for key in ("leases", "suspects", "delayed", "order:interactive", "extra:demo", "dead", "drainer"):
        assert not redis.exists(f"murmur:{key}"), key
    assert redis.hget("murmur:backlog", "spans") == "0"
    assert not list(redis.scan_iter("murmur:held:*"))
    assert not redis.hgetall("murmur:running")
    eventually(lambda: not redis.llen("murmur.demo"), 60)
    assert not redis.keys("unacked*")
    pcm = flock.settings.pcm_dir
    # A worker that was killed in the middle of one leaves its draft; a swept hour later it is gone.
    assert not list(pcm.glob("*.pcm"))
    # Of the uploads that went to an API when it was killed nothing but a `.part` is left, for the sweeper.
    parts = list((flock.settings.blob_dir / "parts").glob("*"))
    assert all(path.suffix == ".part" for path in parts)
    assert len(parts) <= UPLOADS_CUT * (clients + 1), parts


def the_dead_were_replaced(redis: Redis, storm: Storm, within_s: float) -> None:
    """From each kill to the next claim of each span that the dead worker held."""
    took = []
    entries = audit(redis)
    for worker, died_at in storm.deaths:
        held: dict[tuple[str, str], bool] = {}
        for at, entry in entries:
            if at > died_at or entry["what"] not in ("claimed", "finished", "released", "erred"):
                continue
            held[entry["comp"], entry["span"]] = entry["what"] == "claimed" and entry["worker"].startswith(worker)
        for span in (name for name, still in held.items() if still):
            again = [
                at for at, e in entries if at > died_at and e["what"] == "claimed" and (e["comp"], e["span"]) == span
            ]
            if again:
                took.append(again[0] - died_at)
    if took:
        print(
            f"kill → claimed again, {len(took)} spans: median {statistics.median(took):.2f} s, "
            f"maximum {max(took):.2f} s; all: {' '.join(f'{t:.1f}' for t in sorted(took))}"
        )
        assert max(took) < within_s
