"""What clients hear while the ledger is slow, silent or gone: soon, all at once, and only what is true."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from tests import audio_files
from tests.deaf_proxy import DeafProxy, deaf_proxy
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.platform import eventually, ledger_binaries, running_ledger, stopped
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Ledger, Security
from transcription.settings.security import Tier

CROWD, OTHERS, AT_ONCE = 200, 40, 5
"""How many submit, how many ask each other route, and how many routes are asked at the same time."""
BUSY_MACHINE_S = 30.0
"""One after the other the last would wait for minutes; together they wait for one call, and for this busy machine."""


@pytest.fixture
def own_ledger(tmp_path: Path) -> Iterator[Redis]:
    with running_ledger(tmp_path / "ledger") as server, Redis.from_url(server.url, decode_responses=True) as redis:
        redis.ping()
        yield redis


def url_of(redis: Redis) -> str:
    where = redis.connection_pool.connection_kwargs
    return f"redis://{where['host']}:{where['port']}/0"


async def crowd(
    base_url: httpx.URL, method: str, path: str, *, count: int = CROWD, **request: Any
) -> list[tuple[int, float]]:
    """Statuses and seconds of *count* requests at once."""
    async with httpx.AsyncClient(base_url=base_url, timeout=60, limits=httpx.Limits(max_connections=CROWD)) as http:

        async def one() -> tuple[int, float]:
            began = time.monotonic()
            answer = await http.request(method, path, **request)
            return answer.status_code, time.monotonic() - began

        return list(await asyncio.gather(*(one() for _ in range(count))))


ROUTES = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/audio/transcriptions"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{id}"),
    ("GET", "/v1/jobs/{id}?wait=30"),
    ("GET", "/v1/jobs/{id}/result"),
    ("GET", "/v1/jobs/{id}/events"),
    ("POST", "/v1/jobs/{id}/cancel"),
    ("GET", "/v1/models"),
    ("GET", "/health"),
    ("GET", "/health/ready"),
    ("GET", "/health/async"),
    ("GET", "/stats"),
    ("GET", "/metrics/ledger"),
    ("GET", "/admin/dead"),
]


@pytest.mark.timeout(300)
def test_two_hundred_who_ask_a_silent_ledger_are_refused_together_on_every_route(
    own_ledger: Redis, tmp_path: Path
) -> None:
    tiers = {"free": Tier(concurrent_jobs=1000, audio_s_per_day=100_000)}
    security = Security(sandbox=False, default_tier="free", tiers=tiers)
    settings = api_settings(url_of(own_ledger), tmp_path / "data").model_copy(update={"security": security})
    with live_api(settings) as api:
        job = api.post("/v1/jobs", files={"file": ("a.wav", audio_files.wav())}).json()["id"]
        with stopped(own_ledger):
            for first in range(0, len(ROUTES), AT_ONCE):
                time.sleep(1.1)  # fine: what was known of the ledger is forgotten
                routes = ROUTES[first : first + AT_ONCE]
                for (_, path), answers in zip(routes, asyncio.run(crowds(api.base_url, routes, job)), strict=True):
                    expected = {200} if path == "/metrics/ledger" else {503}
                    assert {status for status, _ in answers} == expected, path
                    assert max(took for _, took in answers) < BUSY_MACHINE_S, path
            assert api.get("/health/live").status_code == 200
        eventually(lambda: api.get(f"/v1/jobs/{job}").status_code == 200)


async def crowds(base_url: httpx.URL, routes: list[tuple[str, str]], job: str) -> list[list[tuple[int, float]]]:
    """What each route answers to its crowd, all at once."""
    form = {"files": {"file": ("a.wav", audio_files.wav(2.0))}, "data": {"model": "demo"}}
    return await asyncio.gather(
        *(
            crowd(
                base_url,
                method,
                path.format(id=job),
                count=CROWD if (method, path) == ("POST", "/v1/jobs") else OTHERS,
                **(form if method == "POST" and "cancel" not in path else {}),
            )
            for method, path in routes
        )
    )


async def busy(loops: int, *, block_s: float) -> None:
    """Keep the event loop from everybody else, as a crowd's own requests do."""
    for _ in range(loops):
        time.sleep(block_s)  # noqa: ASYNC251  fine: this is the fault
        await asyncio.sleep(0)


def test_a_process_that_is_busy_with_a_crowd_refuses_none_whom_the_ledger_answers(redis_url: str) -> None:
    async def ask() -> None:
        client = connect_async(Ledger(url=SecretStr(redis_url), timeout_s=0.2))
        try:
            answers = await asyncio.gather(*(client.ping() for _ in range(100)), busy(15, block_s=0.1))
        finally:
            await client.aclose()
        assert answers[:-1] == [True] * 100

    asyncio.run(ask())


def test_a_busy_process_still_notices_that_the_ledger_is_silent(own_ledger: Redis) -> None:
    async def ask() -> list[BaseException | bool]:
        client = connect_async(Ledger(url=SecretStr(url_of(own_ledger)), timeout_s=0.2))
        try:
            return await asyncio.gather(*(client.ping() for _ in range(100)), return_exceptions=True)
        finally:
            await client.aclose()

    with stopped(own_ledger):
        began = time.monotonic()
        answers = asyncio.run(ask())
        assert time.monotonic() - began < BUSY_MACHINE_S
    assert all(isinstance(answer, RedisError) for answer in answers)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[DeafProxy]:
    with deaf_proxy(redis_url) as running:
        yield running


def test_a_submit_whose_answer_was_lost_is_said_to_be_unknown_and_names_where_to_ask(
    proxy: DeafProxy, redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    tiers = {"free": Tier(concurrent_jobs=5, audio_s_per_day=100_000)}
    security = Security(sandbox=False, default_tier="free", tiers=tiers)
    settings = api_settings(proxy.url, tmp_path / "data")
    # Hints go past the proxy: the thread that sends one would wait for its answer to the end of this test.
    ledger = settings.ledger.model_copy(update={"broker_url": SecretStr(redis_url)})
    with live_api(settings.model_copy(update={"security": security, "ledger": ledger})) as api:
        assert api.post("/v1/jobs", files={"file": audio_files.wav()}).status_code == 202
        proxy.after = b'"idempotency_key"'
        lost = api.post("/v1/jobs", files={"file": audio_files.wav(2.0)})
        assert (lost.status_code, lost.json()["code"]) == (503, "outcome_unknown")
        assert int(lost.headers["retry-after"]) >= 1
        proxy.after, proxy.deaf = None, False
        found = eventually(lambda: answered(api.get(lost.headers["location"])), within_s=20)
        assert found["id"] == lost.json()["job_id"]
        assert redis_server.zcard("murmur:open:default") == 2  # its quota wasn't given back


def test_a_request_with_many_questions_to_a_slow_ledger_is_refused_when_their_time_together_is_over(
    proxy: DeafProxy, tmp_path: Path
) -> None:
    with live_api(api_settings(proxy.url, tmp_path / "data")) as api:
        assert api.post("/v1/jobs", files={"file": audio_files.wav()}).status_code == 202
        time.sleep(1.1)  # fine: what was known of the ledger is forgotten
        proxy.delay_s = 0.5  # each question alone is answered in time; a submit has three
        slow = api.post("/v1/jobs", files={"file": audio_files.wav(2.0)})
        assert (slow.status_code, slow.json()["code"]) == (503, "ledger_unavailable")
        proxy.delay_s = 0.0
        eventually(lambda: api.post("/v1/jobs", files={"file": audio_files.wav(2.0)}).status_code == 202)


def answered(answer: httpx.Response) -> dict[str, Any] | None:
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 200 else None


def test_a_submit_that_was_never_sent_is_refused_and_nothing_has_happened(own_ledger: Redis, tmp_path: Path) -> None:
    with live_api(api_settings(url_of(own_ledger), tmp_path / "data")) as api:
        api.post("/v1/jobs", files={"file": audio_files.wav()})
        own_ledger.shutdown(nosave=True)
        refused = eventually(lambda: no_answer(api), within_s=20)
        assert "nothing was changed" in refused.json()["detail"]
        assert "location" not in refused.headers


def no_answer(api: httpx.Client) -> httpx.Response | None:
    answer = api.post("/v1/jobs", files={"file": audio_files.wav(2.0)})
    return answer if answer.json()["code"] == "ledger_unavailable" and "nothing" in answer.json()["detail"] else None


def test_a_submit_that_the_server_did_not_sync_is_no_accepted_one(tmp_path: Path) -> None:
    """Without fsync WAITAOF never confirms: the client must not hear 202, and must hear soon."""
    with running_ledger(tmp_path / "ledger", ledger_binaries()["valkey"]) as server:
        with Redis.from_url(server.url) as redis:
            redis.config_set("appendfsync", "no")
        settings = api_settings(server.url, tmp_path / "data")
        synced = settings.model_copy(update={"ledger": Ledger(url=settings.ledger.url, wait_aof=True)})
        with live_api(synced) as api:
            answer = api.post("/v1/jobs", files={"file": audio_files.wav()})
            assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
            assert api.get(answer.headers["location"]).status_code == 200


def test_who_waits_for_a_job_waits_through_an_outage(own_ledger: Redis, tmp_path: Path) -> None:
    settings = api_settings(url_of(own_ledger), tmp_path / "data")
    answers: dict[str, httpx.Response] = {}

    def ask(name: str, method: str, path: str, **request: Any) -> None:
        answers[name] = httpx.request(method, f"{base}{path}", timeout=60, **request)

    with live_api(settings) as api, connect(settings.ledger) as client:
        base = str(api.base_url)
        worker = LedgerWorker(RedisSpans(client, settings))
        file = {"file": ("a.wav", audio_files.wav())}
        job = api.post("/v1/jobs", files=file).json()
        waiters = [
            threading.Thread(target=ask, args=("long-poll", "GET", f"/v1/jobs/{job['id']}?wait=50")),
            threading.Thread(
                target=ask,
                args=("prefer", "POST", "/v1/jobs"),
                kwargs={"files": file, "headers": {"prefer": "wait=50"}},
            ),
            threading.Thread(
                target=ask,
                args=("openai", "POST", "/v1/audio/transcriptions"),
                kwargs={"files": file, "data": {"model": "demo"}},
            ),
            threading.Thread(
                target=ask,
                args=("stream", "POST", "/v1/audio/transcriptions"),
                kwargs={"files": file, "data": {"model": "demo", "stream": "true"}},
            ),
        ]
        for waiter in waiters:
            waiter.start()
        eventually(lambda: own_ledger.scard(f"murmur:comp:{computation(own_ledger, job['id'])}:jobs") == 4)
        claim = worker.claim()
        worker.prepare(claim)
        worker.write(claim, 0, " hello", audio_s=4.0)
        with stopped(own_ledger):
            time.sleep(3.0)  # fine: longer than any call to the ledger may take
        worker.write(claim, 1, " world", audio_s=10.0)
        worker.finish(claim)
        for waiter in waiters:
            waiter.join(30)
    assert answers["long-poll"].json()["status"] == "completed"
    assert answers["prefer"].json()["status"] == "completed"
    assert answers["openai"].json()["text"] == "hello world"
    assert '"delta":" world"' in answers["stream"].text
    assert '"transcript.text.done","text":"hello world"' in answers["stream"].text
    assert '"error"' not in answers["stream"].text


def test_a_stream_reads_of_a_transcript_what_is_new(own_ledger: Redis, tmp_path: Path) -> None:
    settings = api_settings(url_of(own_ledger), tmp_path / "data")
    windows, text = 40, " word" * 2000
    with live_api(settings) as api, connect(settings.ledger) as client:
        worker = LedgerWorker(RedisSpans(client, settings))
        form = {"files": {"file": ("a.wav", audio_files.wav())}, "data": {"model": "demo", "stream": "true"}}
        with api.stream("POST", "/v1/audio/transcriptions", timeout=60, **form) as answer:
            claim = worker.claim()
            worker.prepare(claim, ends=(2.0 * windows,))
            before = int(own_ledger.info("stats")["total_net_output_bytes"])
            lines = answer.iter_lines()
            for number in range(windows):
                worker.write(claim, number, text, audio_s=2.0 * number)
                next(line for line in lines if '"transcript.text.segment"' in line)
            worker.finish(claim)
            assert any('"transcript.text.done"' in line for line in lines)
        sent = int(own_ledger.info("stats")["total_net_output_bytes"]) - before
    # All of it at every window would be twenty times the transcript.
    assert sent < 3 * windows * len(text)


def computation(redis: Redis, job_id: str) -> str:
    return str(redis.hget(f"murmur:job:{job_id}", "comp"))
