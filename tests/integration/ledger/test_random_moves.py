"""A model check of the ledger: random claims, deaths, stale tokens and cancels against the real scripts."""

import asyncio
import itertools
import uuid
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis import Redis

from transcription.computation import Claim, Timing
from transcription.errors import DeadLetterNotFound, Fault, JobFinished, LeaseLost, Stopped
from transcription.job import Audio, Failure, Job, Status, Submission
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.jobs import submit_requests
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.ledger.span_store import RedisSpans
from transcription.options import Options, Priority
from transcription.ports import WorkerInfo
from transcription.settings import Settings
from transcription.spans import Piece, Span

WORKERS = ("w1", "w2", "w3")
MODELS = ("demo", "speakers:voices@1")
QUEUES = tuple(f"murmur:{name}:" for name in ("first", "extra", "avoided", "suspects", "solitary"))
RANKS = tuple(f"murmur:{name}:" for name in ("lanes", "tenants", "order", "extras"))
TOTALS = ("backlog", "running", "counts", "pending", "bases", "aside", "served")
DEEDS = ("prepare", "append", "finish", "error", "fault", "poison", "release", "renew")
worker_names = st.sampled_from(WORKERS)


class Books:
    """What the ledger holds, read in two round trips."""

    def __init__(self, redis: Redis) -> None:
        keys = sorted(redis.scan_iter("murmur:*", count=10_000))
        span_keys = [key for key in keys if key.startswith("murmur:span:")]
        comp_keys = [key for key in keys if key.startswith("murmur:comp:") and key.count(":") == 2]
        queues = [key for key in keys if key.startswith(QUEUES)]
        ranks = [key for key in keys if key.startswith(RANKS)]
        queues += ["murmur:delayed", "murmur:leases"]
        pipe = redis.pipeline(transaction=False)
        for key in span_keys + comp_keys:
            pipe.hgetall(key)
        for name in TOTALS:
            pipe.hgetall(f"murmur:{name}")
        for worker in WORKERS:
            pipe.smembers(f"murmur:held:{worker}")
        for key in queues:
            pipe.zrange(key, 0, -1)
        for key in ranks:
            pipe.zrange(key, 0, -1, withscores=True)
        pipe.xrange("murmur:audit")
        found = iter(pipe.execute())
        self.spans = {"/".join(key[12:].rsplit(":", 1)): next(found) for key in span_keys}
        self.comps = {key[12:]: next(found) for key in comp_keys}
        self.totals = {
            name: {field: int(value) for field, value in next(found).items() if int(value)}
            for name in TOTALS
            if name != "served"
        }
        self.served = next(found)
        self.counts = self.totals["counts"]
        self.held = [name for _ in WORKERS for name in next(found)]
        queued = self.queued = {key: next(found) for key in queues}
        self.leases = set(queued["murmur:leases"])
        self.places = Counter(name for names in queued.values() for name in names)
        self.ranks = {key: dict(next(found)) for key in ranks}
        self.audit = [entry for _, entry in next(found)]

    def in_state(self, *states: str) -> dict[str, dict[str, str]]:
        return {name: span for name, span in self.spans.items() if span["state"] in states}

    def every_span_is_in_exactly_one_place(self) -> None:
        assert max(self.places.values(), default=1) == 1, self.places
        assert set(self.places) == set(self.in_state("pending", "running", "delayed"))
        assert self.leases == set(self.in_state("running"))
        assert sorted(self.held) == sorted(self.leases)

    def comp(self, name: str) -> dict[str, str]:
        return self.comps[name.partition("/")[0]]

    def queues_are_found_by_what_waits_in_them(self) -> None:
        pending = Counter(self.comp(name)["lane"] for name in self.in_state("pending"))
        bases: Counter[str] = Counter()
        for lane, spans in pending.items():
            bases[base(lane)] += spans
        aside = {
            key.removeprefix("murmur:"): len(names)
            for key, names in self.queued.items()
            if key.split(":")[1] in ("suspects", "solitary", "avoided")
        }
        assert {name: self.totals[name] for name in ("pending", "bases", "aside")} == {
            "pending": pending, "bases": bases, "aside": aside,
        }  # fmt: skip
        ranks: dict[str, dict[str, float]] = {}
        for name, span in self.in_state("pending").items():
            comp = self.comp(name)
            lane, tenant, behind = comp["lane"], comp["tenant"], 1e14 * (comp["class"] == "batch")
            score = float(comp.get("since") or comp["created"])
            if span["place"] == "first":
                kind, turn = f"{comp['class']}:{base(lane)}", f"{int(self.served.get(tenant, 0)):016} {tenant}"
                note(ranks, f"murmur:lanes:{kind}:{tenant}", lane, score)
                note(ranks, f"murmur:tenants:{kind}", turn, float(self.totals["running"].get(tenant, 0)))
                note(ranks, f"murmur:order:{comp['class']}", name, score)
            elif span["place"] == "extra":
                note(ranks, f"murmur:extras:{base(lane)}", lane, behind + score)
        assert self.ranks == ranks

    def totals_are_what_they_total(self) -> None:
        pending, running = self.in_state("pending"), self.in_state("running")
        expected: Counter[str] = Counter(spans=len(pending))
        for name, span in pending.items():
            length, kind = int(span["end"]) - int(span["start"]), self.comp(name)["class"]
            expected[f"ms:{kind}"] += length
            if span["place"] == "first":
                expected[f"first:{kind}"] += length
                expected[f"unknown:{kind}"] += length == 0
        for span in running.values():
            length = int(span["end"]) - int(span["start"])
            unknown = length == 0 and span["start"] == "0"
            expected["unknown" if unknown else "running"] += 1 if unknown else max(0, length - int(span["done"]))
        assert self.totals["backlog"] == +expected
        assert sum(self.totals["running"].values()) == sum(int(span["weight"]) for span in running.values())
        for name, comp in self.comps.items():
            mine = [span for key, span in self.spans.items() if key.startswith(name)]
            places = [span["place"] if span["state"] == "pending" else span["state"] for span in mine]
            assert int(comp["lead"]) == places.count("first") + places.count("running")
            # Spans that only idle workers take would starve if nobody were on the computation.
            assert "extra" not in places or int(comp["lead"]) > 0

    def nothing_was_committed_twice(self) -> None:
        finished = Counter((entry["comp"], entry["span"]) for entry in self.audit if entry["what"] == "finished")
        assert max(finished.values(), default=1) == 1


def base(lane: str) -> str:
    """A lane without its language."""
    return "\n".join(line for line in lane.split("\n") if not line.startswith("language="))


def note(ranks: dict[str, dict[str, float]], key: str, member: str, score: float) -> None:
    found = ranks.setdefault(key, {})
    found[member] = min(score, found.get(member, score))


class Ledger(RuleBasedStateMachine):
    """Moves of clients and workers in any order; after each, the ledger's books must balance."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings(ledger={"url": self.url}, lease={"max_attempts": 2})
        self.redis: Redis = connect(self.settings.ledger)
        self.redis.flushall()
        self.spans = RedisSpans(self.redis, self.settings)
        self.runner = asyncio.Runner()
        self.jobs = RedisJobs(connect_async(self.settings.ledger), self.settings)
        self.tickets: list[tuple[str, str]] = []
        self.claims: list[Claim] = []
        self.pids = Counter(dict.fromkeys(WORKERS, 1))
        self.numbers = itertools.count()
        # Names in the order of time: what happens within one millisecond then repeats exactly.
        submit_requests.uuid.uuid4 = lambda: uuid.UUID(int=next(self.numbers))  # type: ignore[attr-defined]
        for name in WORKERS:
            self._register(name)
        self._reap()

    def teardown(self) -> None:
        self._drain()
        self.runner.run(self.jobs.close())
        self.runner.close()
        self.redis.close()

    def _register(self, name: str) -> None:
        self.spans.register(
            WorkerInfo(
                id=name, models=("demo",), engine="stub", device="cpu", compute_type="int8", slots=3, host="h",
                pid=self.pids[name], started_at=0.0, diarizer="voices@1",
            )
        )  # fmt: skip

    def _reap(self) -> None:
        self.redis.hset("murmur:config", mapping={"grace": 0, "reaped": 1 << 52})
        self.spans.reap()

    # ------------------------------------------------------------ clients

    @rule(
        audio=st.sampled_from("abcd"), tenant=st.sampled_from(["t1", "t2"]), priority=st.sampled_from(Priority),
        webhook_url=st.sampled_from([None, "http://receiver.test/"]), parts=st.sampled_from(["", "speakers", "2", "3"]),
        language=st.sampled_from([None, "de", "fr"]), seconds=st.sampled_from([0.0, 10.0, 10.0]),
    )  # fmt: skip
    def submit(
        self, *, audio: str, tenant: str, priority: Priority, webhook_url: str | None, parts: str,
        language: str | None, seconds: float,
    ) -> None:  # fmt: skip
        diarize, channels = parts == "speakers", int(parts) if parts.isdigit() else 1
        job, _ = self.runner.run(
            self.jobs.submit(
                Submission(
                    job_id=f"{next(self.numbers):08}", tenant=tenant,
                    audio=Audio(sha256=audio * 64, bytes=1, duration_s=seconds, filename="f"),
                    model="demo", revision="r", diarizer="voices@1" if diarize else None,
                    options=Options(
                        priority=priority, webhook_url=webhook_url, diarize=diarize, language=language,
                        channels="split" if channels > 1 else "mix",
                    ),
                    channels=channels,
                )
            )
        )  # fmt: skip
        self.tickets.append((job.id, tenant))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id, tenant = data.draw(st.sampled_from(self.tickets))
        before = self.runner.run(self.jobs.get(job_id, tenant=tenant))
        try:
            after = self.runner.run(self.jobs.cancel(job_id, tenant=tenant))
            assert not before.status.terminal
            assert after.status is Status.CANCELED
        except JobFinished:
            assert before.status.terminal

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self.tickets.remove(ticket)
        self.runner.run(self.jobs.forget(ticket[0], tenant=ticket[1]))

    @rule()
    def retention_passes(self) -> None:
        for job_id in self.redis.zrange("murmur:expiry", 0, 0):
            self.redis.zadd("murmur:expiry", {job_id: 1})
        self.spans.sweep()

    # ------------------------------------------------------------ workers

    @rule(name=worker_names, extras=st.booleans(), language=st.sampled_from(["*", "*", "de"]))
    def claim(self, name: str, extras: bool, language: str) -> None:
        tokens = [claim.token for claim in self.claims]
        found = self.spans.claim(name, models=MODELS, extras=extras, traits=(f"language={language}",))
        if found is not None:
            assert all(found.token > token for token in tokens)
            self.claims.append(found)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), deed=st.sampled_from(DEEDS))
    def work(self, data: st.DataObject, deed: str) -> None:
        """Any claim that ever was may try any write; only one that holds the span and leaves nothing out succeeds."""
        held = data.draw(st.sampled_from(self.claims))
        key = f"murmur:span:{held.computation}:{held.index}"
        state, token, speech = self.redis.hmget(key, "state", "token", "speech")
        holds = (state, token) == ("running", str(held.token))
        gap = (deed == "append" and speech is None) or (deed == "prepare" and held.index > 0)
        try:
            self._do(deed, held)
            succeeded = True
        except (LeaseLost, Stopped):
            succeeded = False
        if deed not in ("release", "renew"):
            assert succeeded == (holds and not gap)

    def _do(self, deed: str, held: Claim) -> None:
        if deed == "prepare":
            parts = [Piece(Span(0, 4), (Span(0, 4),)), Piece(Span(4, 10), (Span(5, 10),))]
            if held.index == 0:
                self.spans.prepared(held, parts, language="en", probability=1.0)
            else:
                self.spans.append(held, [], window=99, audio_s=1.0)
        elif deed == "append":
            self.spans.append(held, [], window=held.windows_done, audio_s=held.span.seconds / 2)
        elif deed == "finish":
            self.spans.finish(held, Timing(audio_s=1.0))
        elif deed == "error":
            self.spans.fail(held, Failure(code="engine_failed", message="m", retryable=True), retry_in_s=5)
        elif deed == "fault":
            fault = Failure(code="storage_unavailable", message="m", retryable=True, fault=Fault.PLATFORM)
            before = self.redis.hget(f"murmur:span:{held.computation}:{held.index}", "attempts")
            self.spans.fail(held, fault, retry_in_s=5)
            assert self.redis.hget(f"murmur:span:{held.computation}:{held.index}", "attempts") == before
        elif deed == "poison":
            self.spans.fail(held, Failure(code="corrupt_audio", message="m", fault=Fault.INPUT), retry_in_s=None)
        elif deed == "release":
            self.spans.release(held)
        else:
            self.spans.renew([held])

    @rule(name=worker_names)
    def process_is_killed_and_restarted(self, name: str) -> None:
        self.pids[name] += 1
        self._register(name)
        assert not self.redis.exists(f"murmur:held:{name}")

    @precondition(lambda self: self.redis.zcard("murmur:leases"))
    @rule(data=st.data())
    def lease_runs_out(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.redis.zrange("murmur:leases", 0, -1)))
        self.redis.zadd("murmur:leases", {name: 1})
        self._reap()
        assert self.redis.zscore("murmur:leases", name) is None

    @rule()
    def delays_pass(self) -> None:
        for name in self.redis.zrange("murmur:delayed", 0, -1):
            self.redis.zadd("murmur:delayed", {name: 1})
        self._reap()

    @rule(revives=st.booleans())
    def operator(self, revives: bool) -> None:
        resolve = self.jobs.retry if revives else self.jobs.drop
        for letter in self.runner.run(self.jobs.dead_letters())[:1]:
            self.runner.run(resolve(letter.computation))
        with pytest.raises(DeadLetterNotFound):
            self.runner.run(resolve("nobody"))

    # ------------------------------------------------------------ the books

    @invariant()
    def the_books_balance(self) -> None:
        books = Books(self.redis)
        books.every_span_is_in_exactly_one_place()
        books.queues_are_found_by_what_waits_in_them()
        books.totals_are_what_they_total()
        books.nothing_was_committed_twice()
        jobs = self.runner.run(self._told())
        assert books.counts == dict(Counter(job.status.value for job in jobs))
        self._every_end_is_owed_to_its_webhook(jobs)

    async def _told(self) -> list[Job]:
        """What each client is told of its job."""
        return await asyncio.gather(*(self.jobs.get(job_id, tenant=tenant) for job_id, tenant in self.tickets))

    def _every_end_is_owed_to_its_webhook(self, jobs: list[Job]) -> None:
        owed = set(self.redis.zrange("murmur:outbox", 0, -1))
        assert owed == {key.removeprefix("murmur:hook:") for key in self.redis.scan_iter("murmur:hook:*", count=10_000)}
        for job in jobs:
            messages = int(self.redis.hget(f"murmur:job:{job.id}", "messages") or 0)
            if job.options.webhook_url is None:
                assert messages == 0
            elif job.status.terminal:
                last = self.redis.hget(f"murmur:hook:msg_{job.id}_{messages}", "status")
                assert job.status is Status.EXPIRED or last == job.status.value

    def _drain(self) -> None:
        """Whatever has happened: two good workers bring every job to its end."""
        for _ in range(500):
            for name in WORKERS:
                self.process_is_killed_and_restarted(name) if self.redis.scard(f"murmur:held:{name}") else None
            self.delays_pass()
            held = next((c for n in WORKERS if (c := self.spans.claim(n, models=MODELS, extras=True))), None)
            if held is None:
                break
            self.spans.finish(held, Timing(audio_s=1.0))
        for job_id, tenant in self.tickets:
            assert self.runner.run(self.jobs.get(job_id, tenant=tenant)).status.terminal
        assert not Books(self.redis).places


def test_no_order_of_moves_unbalances_the_ledger(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    Ledger.url = redis_url
    monkeypatch.setattr(uuid, "uuid4", uuid.uuid4)  # put back what a run replaces
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            # The scripts are searched on one server; the other is to run them alike.
            max_examples=40 if request.node.callspec.params["ledger_url"] == "valkey" else 10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # thirty moves can be read without shrinking
        ),
    )
