"""What tenants may use: taken when it is used, given back when it isn't, and new every day."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from redis import Redis

from tests.integration.test_diarization_ledger import SPEAKERS, Platform
from tests.ledger_client import LedgerClient
from tests.ledger_clock import LedgerClock
from tests.ledger_endings import BOOM
from tests.ledger_worker import LedgerWorker
from transcription.errors import QuotaExceeded
from transcription.job import Status
from transcription.ledger.connections.clients import connect, connect_async
from transcription.ledger.span_store import RedisSpans
from transcription.ledger.tenants.quotas import RedisQuotas
from transcription.settings import Settings
from transcription.settings.security import Tier

DAY_S = 86_400
JOBS = Tier(concurrent_jobs=2)
AUDIO = Tier(audio_s_per_day=100)


@pytest.fixture
def settings(redis_url: str, ledger_clock: LedgerClock) -> Settings:
    ledger_clock.today(12 * 3600)
    return Settings(ledger={"url": redis_url})


@pytest.fixture
def worker(settings: Settings) -> Iterator[LedgerWorker]:
    with connect(settings.ledger) as client:
        yield LedgerWorker(RedisSpans(client, settings))


class Quotas:
    """A book of quotas, asked one question at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _ask(self, question: Callable[[RedisQuotas], Awaitable[None]]) -> None:
        async def run() -> None:
            client = connect_async(self._settings.ledger)
            try:
                await question(RedisQuotas(client))
            finally:
                await client.aclose()

        asyncio.run(run())

    def take(self, tier: Tier, job_id: str = "", audio_s: float = 0.0, tenant: str = "default") -> None:
        self._ask(lambda book: book.take(tenant, tier, job_id=job_id, audio_s=audio_s))

    def restore(self, tier: Tier, job_id: str, audio_s: float) -> None:
        self._ask(lambda book: book.restore("default", tier, job_id=job_id, audio_s=audio_s))

    def refused(self, tier: Tier, job_id: str = "", audio_s: float = 0.0) -> QuotaExceeded:
        with pytest.raises(QuotaExceeded) as caught:
            self.take(tier, job_id, audio_s)
        return caught.value


@pytest.fixture
def quotas(settings: Settings) -> Quotas:
    return Quotas(settings)


def test_audio_of_a_day_is_used_up_and_there_again_the_next_day(quotas: Quotas, ledger_clock: LedgerClock) -> None:
    quotas.take(AUDIO, "a", 60)
    quotas.refused(AUDIO, "b", 41)
    quotas.take(AUDIO, "b", 40)
    refused = quotas.refused(AUDIO, "c", 1)
    assert refused.retry_after_s == pytest.approx(12 * 3600, abs=60)
    assert "100 s" in refused.message
    quotas.take(AUDIO, "c", 100, tenant="another")
    ledger_clock.advance(11 * 3600 + 3000)
    quotas.refused(AUDIO, "c", 1)
    ledger_clock.advance(700)
    quotas.take(AUDIO, "c", 100)


def test_book_of_a_day_is_gone_soon_after_it(quotas: Quotas, ledger_clock: LedgerClock, redis_server: Redis) -> None:
    quotas.take(AUDIO, "a", 60)
    assert redis_server.keys("murmur:used:*")
    ledger_clock.advance(14 * 3600)
    assert not redis_server.keys("murmur:used:*")


def test_looking_takes_nothing(quotas: Quotas, redis_server: Redis) -> None:
    for _ in range(5):
        quotas.take(JOBS, "", 10)
        quotas.take(AUDIO, "", 90)
    assert not redis_server.keys("murmur:used:*") + redis_server.keys("murmur:open:*")


def test_what_was_taken_for_nothing_is_given_back(quotas: Quotas) -> None:
    quotas.take(AUDIO, "a", 100)
    quotas.restore(AUDIO, "a", 100)
    quotas.take(AUDIO, "a", 100)
    for job_id in "ab":
        quotas.take(JOBS, job_id)
    quotas.restore(JOBS, "b", 0)
    quotas.take(JOBS, "c")
    quotas.restore(JOBS, "", 0)  # only the audio: the job counts
    quotas.refused(JOBS, "d")


def test_what_is_given_back_after_midnight_leaves_nothing(
    quotas: Quotas, ledger_clock: LedgerClock, redis_server: Redis
) -> None:
    quotas.take(AUDIO, "a", 50)
    ledger_clock.advance(DAY_S)
    quotas.restore(AUDIO, "a", 50)
    assert not redis_server.keys("murmur:used:*")


def test_job_at_once_counts_until_it_ends_however_it_ends(
    quotas: Quotas, settings: Settings, worker: LedgerWorker, ledger_clock: LedgerClock
) -> None:
    client = LedgerClient(settings)
    tier = Tier(concurrent_jobs=4)
    jobs = [client.new(letter) for letter in "abcd"]
    for job in jobs:
        quotas.take(tier, job.id)
    assert "4 of your jobs" in quotas.refused(tier, "x").message
    worker.work()
    worker.fail()
    client.cancel(jobs[2])
    for number in range(3):
        quotas.take(tier, f"x{number}")
    quotas.refused(tier, "y")
    ledger_clock.advance(30)
    quotas.refused(tier, "y")  # they may still be on their way
    ledger_clock.advance(40)
    quotas.take(tier, "y")  # they never came


def test_canceled_ticket_of_a_computation_that_goes_on_counts_no_more(quotas: Quotas, settings: Settings) -> None:
    client = LedgerClient(settings)
    tier = Tier(concurrent_jobs=1)
    job = client.new()
    client.submit()
    quotas.take(tier, job.id)
    quotas.refused(tier, "x")
    client.cancel(job)
    quotas.take(tier, "x")


def test_job_that_asks_who_speaks_counts_until_its_speakers_are_known_too(quotas: Quotas, redis_url: str) -> None:
    platform, tier = Platform(redis_url), Tier(concurrent_jobs=1)
    platform.submit("a")
    quotas.take(tier, "a")
    platform.transcribe()
    quotas.refused(tier, "b")
    platform.diarize()
    quotas.take(tier, "b")


def test_job_that_failed_counts_no_more_while_its_words_are_written_for_nobody(quotas: Quotas, redis_url: str) -> None:
    platform, tier = Platform(redis_url), Tier(concurrent_jobs=1)
    job, _ = platform.submit("a")
    quotas.take(tier, "a")
    platform.spans.fail(platform.claim(SPEAKERS), BOOM, retry_in_s=None)
    assert platform.client.status(job) is Status.FAILED
    quotas.take(tier, "b")


def test_who_has_no_limit_leaves_no_trace(quotas: Quotas, redis_server: Redis) -> None:
    quotas.take(Tier(), "a", 10**6)
    assert not redis_server.keys("murmur:used:*") + redis_server.keys("murmur:open:*")
