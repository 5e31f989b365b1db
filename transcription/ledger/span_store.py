"""The ledger for a worker: spans in Redis, sync."""

import base64
import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import orjson
import structlog
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from transcription.computation import Claim, Facts, Hold, Timing
from transcription.errors import LeaseLost, NameTaken, Stopped
from transcription.job import Failure
from transcription.lanes import ANY_LANGUAGE, SPEAKERS
from transcription.ledger import archive, stats
from transcription.ledger.connections.errors import is_fault, too_new, translated, unavailable, unchanged
from transcription.ledger.records import computations, transcripts, values
from transcription.ledger.records.values import ms
from transcription.ledger.scripts import PREFIX, Scripts, pairs
from transcription.ledger.webhook_outbox import WAKE
from transcription.options import Priority
from transcription.ports import Heard, Lane, WorkerInfo
from transcription.result_warning import ResultWarning
from transcription.settings import Settings
from transcription.spans import Piece
from transcription.speakers import Diarized
from transcription.transcript import Segment

log = structlog.get_logger()

NO_FACTS = Facts()


UNSERVED_PAUSE_S = 600.0
"""Between two looks at which models are served: after a longer pause nothing is known of the time since."""

UNNEEDED_S = 60.0
UNNEEDED_AT_ONCE = 200
"""Audio is deleted when nobody has needed it for so long, so many at once."""


class RedisSpans:
    """A SpanStore on Redis. Threads may share it."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._lease_ms = ms(settings.lease.ttl_s)
        self._known: set[tuple[str, str]] = set()
        self._gone_ms = ms(3 * settings.lease.renew_s)
        self._unheard: list[tuple[str, str]] = []
        self._scripts = Scripts(
            client,
            audit_length=settings.ledger.audit_length,
            dead_letter_ttl_s=settings.retention.dead_letter_ttl_s,
            keep_audio=settings.retention.keep_audio,
        )

    def claim(
        self, worker: str, *, models: Sequence[str], extras: bool, traits: Sequence[str] = (ANY_LANGUAGE,)
    ) -> Claim | None:
        """Take the next span under a lease: see SpanStore."""
        request, ends = uuid.uuid4().hex, time.monotonic() + self._settings.lease.ttl_s / 2
        asked: list[str | int] = [worker, self._lease_ms, int(extras), "\n".join(traits), self._gone_ms, request]
        while True:
            try:
                fields = self._scripts.call("claim", *asked, *models)
                return computations.claim(pairs(fields)) if fields else None
            except (RedisError, OSError) as error:
                # A claim whose answer was lost may hold a span: the same request gets the same one.
                if unchanged(error) or is_fault(error) or too_new(error) or time.monotonic() > ends:
                    self._give_up_claim(worker, request, error)
                time.sleep(0.25)

    def _give_up_claim(self, worker: str, request: str, error: RedisError | OSError) -> NoReturn:
        """Note a claim that may hold a span: redis-py tries twice, and tells of a lost answer as of its second try."""
        if not is_fault(error) and not too_new(error):
            self._unheard.append((worker, request))
        unavailable(error)

    def _release_unheard(self) -> None:
        """Hand back what claims hold that were given up: nobody renews it, and at its end the worker counts as dead."""
        while self._unheard:
            worker, request = self._unheard.pop()
            try:
                # The same request gets the same claim; for no model it gets no other one.
                fields = self._scripts.call("claim", worker, self._lease_ms, 0, "", self._gone_ms, request)
                if fields:
                    self._scripts.call("release", *_name(computations.claim(pairs(fields))))
            except (RedisError, OSError) as error:
                self._give_up_claim(worker, request, error)

    def renew(self, claims: Sequence[Claim]) -> dict[int, Hold]:
        """Prolong leases; what each token's renewal found. What claims got of which nobody knows is handed back."""
        self._release_unheard()
        if not claims:
            return {}
        names = [part for claim in claims for part in (claim.computation, claim.index, claim.token)]
        with translated():
            found = self._scripts.call("renew", self._lease_ms, *names)
        return {
            claim.token: Hold(held=lease_state == "held", wanted=lease_state != "unwanted")
            for claim, lease_state in zip(claims, found, strict=True)
        }

    def prepared(
        self,
        claim: Claim,
        pieces: Sequence[Piece],
        *,
        language: str | None,
        probability: float | None,
        facts: Facts = NO_FACTS,
    ) -> None:
        """Set where the recording was cut: see SpanStore."""
        parts = [part for piece in pieces for part in computations.piece(piece)]
        tracks = orjson.dumps([asdict(track) for track in facts.tracks]).decode()
        found = (values.warnings_written(facts.warnings), tracks, facts.same_as or "")
        self._write(
            "prepared", claim, claim.computation, claim.token, language or "", probability or "", *found, *parts
        )

    def append(
        self,
        claim: Claim,
        segments: Iterable[Segment],
        *,
        window: int,
        audio_s: float,
        warnings: Iterable[ResultWarning] = (),
        language: str | None = None,
    ) -> None:
        """Write one window's segments: see SpanStore."""
        what = (window, transcripts.written(segments), ms(audio_s), values.warnings_written(warnings), language or "")
        self._write("append", claim, *_name(claim), self._lease_ms, *what)

    def append_voices(self, claim: Claim, voices: bytes, *, window: int, audio_s: float) -> None:
        """Write what was heard in one window of a diarization's span: see SpanStore."""
        encoded = orjson.dumps(base64.b64encode(voices).decode()).decode()
        self._write("append", claim, *_name(claim), self._lease_ms, window, encoded, ms(audio_s), "")

    def append_diarized(self, claim: Claim, found: Diarized) -> None:
        """Write who speaks when: see SpanStore."""
        self._write("append", claim, *_name(claim), self._lease_ms, 0, transcripts.diarized_written(found), 0, "")

    def voices(self, claim: Claim) -> list[Heard]:
        """What was heard in all spans of a diarization: see SpanStore."""
        with translated():
            rows = self._scripts.call("voices", claim.computation)
        return [
            Heard(computations.stretches(speech) or (), tuple(base64.b64decode(orjson.loads(one)) for one in windows))
            for speech, windows in rows
        ]

    def finish(self, claim: Claim, timing: Timing, *, windows: int | None = None) -> bool:
        """Commit a span: see SpanStore. True when it was the computation's last."""
        figures = (timing.audio_s, timing.decode_s, timing.vad_s, timing.compute_s)
        known = "" if windows is None else windows
        return self._write("finish", claim, *_name(claim), *map(ms, figures), known) == "completed"

    def keep_from_cache(self, claim: Claim) -> None:
        """Say that other weights compute this than its request named: see SpanStore."""
        self._write("uncache", claim, claim.computation)

    def fail(self, claim: Claim, failure: Failure, *, retry_in_s: float | None) -> None:
        """Report a failed attempt: see SpanStore."""
        delay = -1 if retry_in_s is None else ms(retry_in_s)
        arguments = (failure.code, failure.message[:2000], int(failure.retryable), delay, failure.fault.value)
        self._write("fail", claim, *_name(claim), *arguments)

    def hung(self, worker: str, claims: Sequence[Claim]) -> int:
        """Say that these spans stand still and the worker ends for them; how many came back."""
        names = [part for claim in claims for part in _name(claim)]
        with translated():
            return int(self._scripts.call("hung", worker, self._settings.lease.max_attempts, *names))

    def release(self, claim: Claim) -> None:
        """Hand a span back, as if it had never been claimed."""
        with translated():
            self._scripts.call("release", *_name(claim))

    def register(self, info: WorkerInfo) -> int:
        """Say that this worker lives: see SpanStore. Returns how many spans came back. NameTaken."""
        incarnation, written, kind, revisions = _beat(info)
        cuts = (info.id, incarnation, written, self._settings.lease.max_attempts, kind)
        known = int((info.id, incarnation) in self._known)
        with translated():
            twin = 0 if known else int(self._twin_lives(info))
            beat = (info.rate or 0, info.host, known, self._gone_ms, revisions, twin)
            answer = self._scripts.call("register", *cuts, *beat)
        if answer in ("taken", "replaced"):
            where = "on another host" if answer == "taken" else "and was started after this one"
            where = "on this host" if answer == "taken" and twin else where
            raise NameTaken(f"another worker called {info.id!r} lives {where}", for_good=answer == "replaced")
        self._known.add((info.id, incarnation))
        return int(answer)

    def register_all(self, infos: Iterable[WorkerInfo]) -> frozenset[str]:
        """Say in one step that known workers live: see SpanStore."""
        args: list[str | float] = []
        for info in infos:
            incarnation, written, kind, revisions = _beat(info)
            args += (info.id, incarnation, written, kind, info.rate or 0, revisions)
        with translated():
            return frozenset(str(name) for name in self._scripts.call("beats", *args))

    def _twin_lives(self, info: WorkerInfo) -> bool:
        """Whether the process that has this worker's name so far is another one of this host, and still there."""
        if info.host != socket.gethostname():
            return False
        incarnation, host = self._client.hmget(f"{PREFIX}worker:{info.id}", "incarnation", "host")
        pid = int(str(incarnation or "0").partition("-")[0])
        if host != info.host or pid in (0, info.pid):
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def depart(self, info: WorkerInfo) -> None:
        """Say goodbye."""
        with translated():
            self._scripts.call("depart", info.id, _incarnation(info))

    def reap(self) -> int:
        """Return spans whose lease has expired; how many."""
        lease = self._settings.lease
        pause, grace = max(4 * lease.reap_s, lease.ttl_s / 2), lease.ttl_s / 2
        with translated():
            return int(self._scripts.call("reap", lease.max_attempts, ms(pause), ms(grace)))

    def webhooks_wait(self) -> bool:
        """Whether there are messages to be sent that nobody has taken: see SpanStore."""
        with translated():
            return self._client.lpop(WAKE) is not None

    def sweep(self) -> int:
        """One slice of retention: let jobs expire whose retention is over; how many moved."""
        with translated():
            kept = self._settings.retention
            return int(self._scripts.call("sweep", kept.tombstone_ttl_s * 1000, kept.result_ttl_s * 1000))

    def fail_unserved(self) -> int:
        """Fail what has waited too long for a model that nobody serves: see SpanStore. How many computations."""
        patience = ms(self._settings.lease.platform_patience_s)
        with translated():
            return int(self._scripts.call("unserved", self._gone_ms, patience, ms(UNSERVED_PAUSE_S)))

    def rewrite(self, *, after_s: float) -> bool:
        """Have the append-only file written anew when something was deleted longer ago than that; whether it began."""
        with translated():
            deleted = self._client.hget(f"{PREFIX}config", "deleted")
            seconds, microseconds = self._client.time()
            if deleted is None or seconds + microseconds / 1e6 - float(deleted) / 1000 < after_s:
                return False
            try:
                self._client.bgrewriteaof()
            except ResponseError as error:  # one is under way, or the server is somebody else's
                log.info("the append-only file isn't written anew", reason=str(error)[:200])
                return False
            self._client.hdel(f"{PREFIX}config", "deleted")
            return True

    def pending(self) -> int:
        """Spans that could be claimed now."""
        with translated():
            return int(self._client.hget(f"{PREFIX}backlog", "spans") or 0)

    def lanes(self) -> dict[str, Lane]:
        """What waits in each lane, and how many live workers suit it."""
        gone_ms = ms(3 * self._settings.lease.renew_s)
        with translated():
            return stats.backlog(self._scripts.call("backlog", gone_ms)).lanes

    def waiting_lanes(self) -> list[str]:
        """The lanes in which anything waits."""
        with translated():
            return [str(name) for name in self._client.hkeys(f"{PREFIX}pending")]

    def jobs(self, claim: Claim) -> list[str]:
        """The jobs that wait for a claimed span."""
        with translated():
            return sorted(map(str, self._client.smembers(f"{PREFIX}comp:{claim.computation}:jobs")))

    def cancel(self, job_id: str) -> str:
        """Cancel a job, whoever's it is; `ok`, `finished` or `unknown`."""
        with translated():
            tenant = self._client.hget(f"{PREFIX}job:{job_id}", "tenant")
            return str(self._scripts.call("cancel", job_id, str(tenant or ""))[0])

    def lock(self, name: str, *, seconds: float) -> bool:
        """True for one worker at a time, for so many seconds."""
        with translated():
            return bool(self._scripts.call("lock", name, ms(seconds)))

    def unneeded_audio(self) -> list[str]:
        """The next SHA-256s whose bytes are to be deleted; none when nothing is due."""
        with translated():
            return [str(sha) for sha in self._scripts.call("unneeded", ms(UNNEEDED_S), UNNEEDED_AT_ONCE)]

    def needed_audio(self, names: Sequence[str]) -> frozenset[str]:
        """Which of these SHA-256s a computation needs: one round trip, however many."""
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for sha256 in names:
                pipe.exists(f"{PREFIX}blob:{sha256}")
            found = pipe.execute()
        return frozenset(sha256 for sha256, exists in zip(names, found, strict=True) if exists)

    def finished(self, *, after_s: float, most: int) -> list[str]:
        """Computations whose texts are to leave the ledger: see SpanStore."""
        with translated():
            return [str(name) for name in self._scripts.call("finished", ms(after_s), most)]

    def whole(self, computation: str) -> bytes | None:
        """All that is to leave the ledger of a finished computation: see SpanStore."""
        with translated():
            found = self._scripts.call("whole", computation)
        return archive.packed(found) if found else None

    def archived(self, computation: str) -> bool:
        """Drop what is in the result store now: see SpanStore."""
        with translated():
            return bool(self._scripts.call("archived", computation))

    def dropped(self, most: int) -> list[str]:
        """Results that nobody needs any more."""
        with translated():
            return [str(name) for name in self._client.zrange(f"{PREFIX}dropped", 0, most - 1)]

    def deleted_results(self, names: Sequence[str]) -> None:
        """Say that these results have been deleted."""
        with translated():
            self._client.zrem(f"{PREFIX}dropped", *names)

    def known_results(self, names: Sequence[str]) -> frozenset[str]:
        """Which of these computations the ledger knows."""
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.exists(f"{PREFIX}comp:{name}")
            found = pipe.execute()
        return frozenset(name for name, exists in zip(names, found, strict=True) if exists)

    def waiting_audio(self, limit: int) -> list[str]:
        """SHA-256 of recordings that wait for their first worker, the oldest of each class first."""
        with translated():
            names = [
                str(name).partition("/")[0]
                for priority in Priority
                for name in self._client.zrange(f"{PREFIX}order:{priority.value}", 0, limit - 1)
            ]
            found = [self._client.hget(f"{PREFIX}comp:{name}", "sha") for name in names]
        return [str(sha256) for sha256 in found if sha256]

    def works_on(self, computation: str) -> bool:
        """Whether a computation is still to be finished."""
        with translated():
            return self._client.hget(f"{PREFIX}comp:{computation}", "status") in ("queued", "processing")

    def _write(self, script: str, claim: Claim, *args: Any) -> str:
        """
        Run a script that carries a token, through an outage of the ledger however long it lasts.

        Giving up would make a failure of what was computed; while the ledger is away nobody else can take the span.

        Raises:
            LeaseLost: another worker holds the span now.
            Stopped: nobody waits for it any more.
            LedgerUnavailable: it isn't away, but refuses for good.
        """
        while True:
            try:
                lease_state = str(self._scripts.call(script, *args))
                break
            except (RedisError, OSError) as error:
                if too_new(error) or is_fault(error):
                    unavailable(error)
                time.sleep(0.25)
        if lease_state == "lost":
            raise LeaseLost(f"span {claim.name} is another worker's now (token {claim.token} is old)")
        if lease_state == "unwanted":
            raise Stopped(f"nobody waits for span {claim.name} any more")
        return lease_state


def _beat(info: WorkerInfo) -> tuple[str, str, str, str]:
    """A worker's incarnation, what it says of itself, its kind and its revisions, as the scripts take them."""
    fit = [model for model in info.models if model not in info.withdrawn]
    fit += [SPEAKERS + info.diarizer] if info.diarizer else []
    fit = [] if info.draining else fit
    kind = "\n".join(fit) + "\n\n" + "\n".join(info.traits)
    revisions = "".join(f"{model}\t{revision}\n" for model, revision in sorted(info.revisions.items()))
    return _incarnation(info), orjson.dumps(info).decode(), kind, revisions


def _incarnation(info: WorkerInfo) -> str:
    """What tells a worker's process from others of its name."""
    return f"{info.pid}-{info.started_at}"


def _name(claim: Claim) -> tuple[str, int, int]:
    return claim.computation, claim.index, claim.token
