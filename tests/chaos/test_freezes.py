"""The ledger is frozen in the middle of submits: what each client was told is true, whichever of the three it was."""

import hashlib
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from murmur.platform import ledger_server
from tests.chaos.flock import APIS, Flock
from tests.chaos.recordings import recording
from tests.platform import eventually, ledger_binaries
from transcription.settings import Lease

FREEZES = 4 if "CHAOS_LONG" in os.environ else 1
FROZEN_S = 2.0
CLIENTS = 6

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.mark.parametrize("wait_aof", [False, True], ids=["", "wait_aof"])
def test_what_a_submit_was_told_in_a_freeze_of_the_ledger_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_aof: bool
) -> None:
    # A server that knows WAITAOF, which Redis 7.0 doesn't.
    valkey = ledger_binaries()["valkey"]
    monkeypatch.setattr(ledger_server, "find_binary", lambda *_: valkey)
    env = {name: {"MURMUR_LEDGER__WAIT_AOF": str(wait_aof).lower()} for name in APIS}
    with Flock(tmp_path / "data", lease=Lease(ttl_s=5, renew_s=1), workers=("w1",), env=env) as flock:
        told = submitted_through_freezes(flock)
        eventually(flock.ledger_answers, 20)
        with flock.redis() as redis:
            # What a frozen server was sent it does when it wakes, before it answers anybody who asks now.
            kept = {redis.hget(key, "sha"): key.removeprefix("murmur:job:") for key in redis.scan_iter("murmur:job:*")}
        verdicts = Counter(verdict(flock, audio, answer, kept) for audio, answer in told)
    print(f"wait_aof {wait_aof}, {FREEZES} freezes of {FROZEN_S} s: {dict(verdicts)}")
    assert verdicts["accepted"] > 0
    assert sum(verdicts.values()) > verdicts["accepted"], "nobody was there in a freeze"


def submitted_through_freezes(flock: Flock) -> list[tuple[bytes, httpx.Response]]:
    """Submit without pause and without repetition, and freeze the ledger again and again."""
    told: list[tuple[bytes, httpx.Response]] = []
    over, lock, numbers = threading.Event(), threading.Lock(), iter(range(30_000, 40_000))

    def client(which: int) -> None:
        with httpx.Client(base_url=flock.url(APIS[which % len(APIS)]), timeout=30) as http:
            while not over.is_set():
                with lock:
                    audio = recording(next(numbers), 1)
                answer = http.post("/v1/jobs", files={"file": ("a.wav", audio)}, data={"language": "en"})
                with lock:
                    told.append((audio, answer))

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, which) for which in range(CLIENTS)]
        for freeze in range(1, FREEZES + 1):
            eventually(lambda enough=freeze * 10: sum(one.is_success for _, one in list(told)) >= enough, 60)  # type: ignore[misc]
            flock.signal("ledger", signal.SIGSTOP)
            time.sleep(FROZEN_S)  # fine: how long it is frozen
            flock.signal("ledger", signal.SIGCONT)
        eventually(flock.ledger_answers, 20)
        over.set()
        for one in clients:
            one.result()
    return told


def looked_up(url: str) -> httpx.Response | None:
    """The answer, once the API's process has noticed that the server is back."""
    found = httpx.get(url, timeout=20)
    return None if found.status_code == 503 else found


def verdict(flock: Flock, audio: bytes, answer: httpx.Response, kept: dict[str | None, str]) -> str:
    """Which of the three a client was told; it must be what is in the ledger."""
    sha256, said = hashlib.sha256(audio).hexdigest(), answer.json()
    if answer.is_success:
        assert kept.get(sha256) == said["id"]
        return "accepted"
    assert answer.status_code == 503, said
    if said["code"] != "outcome_unknown":
        assert sha256 not in kept, said
        return "refused"
    found = eventually(partial(looked_up, flock.url(APIS[0]) + answer.headers["location"]), 20)
    assert found.status_code in (200, 404), found.text
    assert (found.status_code == 200) == (sha256 in kept)
    assert kept.get(sha256) in (None, said["job_id"])
    return f"unknown, {'there' if sha256 in kept else 'not there'}"
