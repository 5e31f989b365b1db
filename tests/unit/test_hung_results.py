"""A store of results that hangs: whoever asks for something else is answered."""

import asyncio
import threading
from types import SimpleNamespace

from transcription.ledger.archive import THREADS, ArchiveReader


def test_results_that_hang_in_their_store_hold_no_thread_that_other_answers_wait_for() -> None:
    answers, hanging = threading.Event(), threading.Semaphore(0)

    def hung(_: str) -> None:
        hanging.release()
        answers.wait(60)

    async def ask() -> None:
        archives = ArchiveReader(SimpleNamespace(read=lambda name: b"", delete=hung), SimpleNamespace())
        asked = [asyncio.create_task(archives.delete(f"{number:08x}")) for number in range(100)]
        try:
            await asyncio.sleep(0)  # fine: lets them begin
            assert await asyncio.wait_for(asyncio.to_thread(lambda: [hanging.acquire() for _ in range(THREADS)]), 30)
        finally:
            answers.set()
            await asyncio.gather(*asked)

    asyncio.run(ask())
