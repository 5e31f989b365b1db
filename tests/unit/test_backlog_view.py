"""The platform's figures as an API process has them: one read for a crowd, and nobody's patience but its own."""

import asyncio
from typing import cast

from pydantic import SecretStr

from api.jobs.backlog import BacklogView
from tests.virtual_time import run
from transcription.errors import LedgerUnavailable
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.connections.errors import translated
from transcription.ledger.connections.fail_fast import FailFastRedis, one_patience
from transcription.ports import Backlog, JobStore
from transcription.settings import Ledger


class Figures:
    """A ledger that gives figures after 0.1 s, by a client that fails fast."""

    def __init__(self, redis: FailFastRedis) -> None:
        self.redis, self.reads = redis, 0

    async def backlog(self) -> Backlog:
        self.reads += 1
        with translated():
            async with self.redis.bounded():
                await asyncio.sleep(0.1)  # fine: virtual
        return Backlog(pending_spans=0, pending_audio_s=0.0, running_spans=0, oldest_age_s=None)


def test_a_request_whose_patience_is_at_its_end_reads_for_others_all_the_same() -> None:
    async def ask() -> None:
        redis = connect_async(Ledger(url=SecretStr("redis://127.0.0.1:1/0"), timeout_s=0.8))
        figures = Figures(redis)
        view = BacklogView(cast("JobStore", figures))

        async def impatient() -> Backlog:
            with one_patience():
                async with redis.bounded():
                    await asyncio.sleep(0.75)  # fine: virtual
                return await view.now()

        crowd = [asyncio.create_task(impatient()) for _ in range(50)]
        assert len(await asyncio.gather(*crowd)) == 50
        assert figures.reads == 1

    run(ask())


def test_who_leaves_takes_the_figures_from_nobody() -> None:
    async def ask() -> None:
        redis = connect_async(Ledger(url=SecretStr("redis://127.0.0.1:1/0"), timeout_s=0.8))
        figures = Figures(redis)
        view = BacklogView(cast("JobStore", figures))
        first, second = asyncio.create_task(view.now()), asyncio.create_task(view.now())
        await asyncio.sleep(0.05)  # fine: virtual
        first.cancel()
        assert (await second) is not None
        assert figures.reads == 1

    run(ask())


def test_a_crowd_hears_of_a_failure_together() -> None:
    async def ask() -> None:
        figures = Figures(connect_async(Ledger(url=SecretStr("redis://127.0.0.1:1/0"))))

        async def away() -> Backlog:
            figures.reads += 1
            await asyncio.sleep(0.1)  # fine: virtual
            raise LedgerUnavailable("away", retry_after_s=5)

        figures.backlog = away  # type: ignore[method-assign]
        view = BacklogView(cast("JobStore", figures))
        for _ in range(2):  # the second one finds it remembered
            ends = await asyncio.gather(*(view.now() for _ in range(20)), return_exceptions=True)
            assert [type(end) for end in ends] == [LedgerUnavailable] * 20
        assert figures.reads == 1

    run(ask())
