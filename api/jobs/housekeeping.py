"""Housekeeping in the API's process: without any worker jobs still expire, and webhooks still go out."""

import asyncio
from contextlib import AsyncExitStack

from transcription.housekeeping.maintenance import Maintenance
from transcription.housekeeping.webhook_dispatcher import WebhookDispatcher
from transcription.ledger.connections import connect
from transcription.ledger.span_store import RedisSpans
from transcription.ports import BlobStore, JobQueue
from transcription.settings import Settings

_STOP_S = 2.0


def start(settings: Settings, blobs: BlobStore, queue: JobQueue, stack: AsyncExitStack) -> None:
    """Start its threads; *stack* stops them. What they don't finish another process goes on with."""
    client = connect(settings.ledger)
    threads = (Maintenance(RedisSpans(client, settings), queue, blobs, settings), WebhookDispatcher(settings))
    for thread in threads:
        thread.start()

    async def stop() -> None:
        for thread in threads:
            thread.stop()
        for thread in threads:
            await asyncio.to_thread(thread.join, _STOP_S)
        client.close()

    stack.push_async_callback(stop)
