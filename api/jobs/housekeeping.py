"""Housekeeping in the API's process: without any worker jobs still expire, and webhooks still go out."""

import asyncio
from contextlib import AsyncExitStack

from transcription.housekeeping.maintenance import Maintenance
from transcription.housekeeping.webhook_dispatcher import WebhookDispatcher
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.ports import BlobStore, JobQueue
from transcription.settings import Settings
from transcription.storage.results import open_results

_STOP_S = 2.0


def start(settings: Settings, blobs: BlobStore, queue: JobQueue, stack: AsyncExitStack) -> None:
    """Start its threads; *stack* stops them. What they don't finish another process goes on with."""
    client = connect(settings.ledger)
    dispatcher = WebhookDispatcher(settings)
    spans = RedisSpans(client, settings)
    results = open_results(settings)
    threads = (Maintenance(spans, queue, blobs, settings, results=results, webhooks=dispatcher.wake), dispatcher)
    for thread in threads:
        thread.start()

    async def stop() -> None:
        for thread in threads:
            thread.stop()
        for thread in threads:
            await asyncio.to_thread(thread.join, _STOP_S)
        client.close()

    stack.push_async_callback(stop)
