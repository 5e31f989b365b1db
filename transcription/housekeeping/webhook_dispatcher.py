"""Delivers the webhook messages in the ledger's outbox."""

import asyncio
import contextlib
import random
import threading
import time

import httpx
import structlog
from redis.exceptions import RedisError

from transcription.errors import LedgerUnavailable, MurmurationError, UrlNotAllowed
from transcription.ledger.connections.clients import connect_async, connect_waiting
from transcription.ledger.connections.fail_fast import FailFastRedis
from transcription.ledger.tenants.webhook_secrets import RedisWebhookSecrets
from transcription.ledger.webhook_outbox import WAKE, RedisOutbox
from transcription.network.guard import client, opened
from transcription.ports import Outbox
from transcription.settings import Settings
from transcription.webhook import Message, Verdict, asked_pause_s, next_try_s, payload, signatures, verdict

log = structlog.get_logger()

AT_ONCE = 64
POLL_INTERVAL_S = 0.5
"""While it delivers: what has to wait for a tenant's or a host's other messages is due again after so long."""

LONGEST_S = 20.0
"""Without a message an API process looks after so long; a worker that knows of none before then looks when told."""

MIN_PAUSE_S = 0.02
LEASE_MARGIN_S = 10.0
FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 4 * 3600.0


class WebhookDispatcher(threading.Thread):
    """
    Delivers messages; a message's lease lets one process at a time send it.

    Every API process has one, which waits for the ledger to wake it. Every worker has one for when no API lives: it
    *listens* to nothing and holds no connection, until maintenance finds messages that nobody took and calls `wake`.
    Its thread runs a loop of its own, so that a receiver that
    hangs or drips holds a place, not a thread, and is cut off when its time is over, whatever it does. A process that
    dies leaves its messages to the others.
    """

    def __init__(self, settings: Settings, *, listens: bool = True) -> None:
        super().__init__(name="webhook-dispatcher", daemon=True)
        self._listens = listens
        self._settings = settings
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()

    def stop(self) -> None:
        """Take no further message; safe to be called from a signal handler."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Look for messages now; any thread may call it."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    def run(self) -> None:
        """Deliver until told to stop; an error that nobody foresaw begins anew what it has ended."""
        while not self._stopping.is_set():
            try:
                asyncio.run(self._serve())
            except Exception:
                log.exception("the webhook dispatcher begins anew")
                self._stopping.wait(POLL_INTERVAL_S)

    async def _serve(self) -> None:
        # Of this loop: after an error that nobody foresaw there is another.
        self._woken, self._loop = asyncio.Event(), asyncio.get_running_loop()
        redis = connect_async(self._settings.ledger)
        outbox, self._secrets = RedisOutbox(redis, self._settings), RedisWebhookSecrets(redis)
        listener = asyncio.create_task(self._listen() if self._listens else asyncio.sleep(0))
        try:
            async with client(silence_s=self._settings.webhook.timeout_s) as http, asyncio.TaskGroup() as tasks:
                await self._dispatch(redis, outbox, http, tasks)
        finally:
            listener.cancel()
            await asyncio.wait([listener])
            await redis.aclose()

    async def _dispatch(
        self, redis: FailFastRedis, outbox: Outbox, http: httpx.AsyncClient, tasks: asyncio.TaskGroup
    ) -> None:
        slots, under_way = asyncio.Semaphore(AT_ONCE), set[asyncio.Task[None]]()

        def ended(task: asyncio.Task[None]) -> None:
            under_way.discard(task)
            slots.release()

        while not self._stopping.is_set():
            await slots.acquire()
            self._woken.clear()
            message = await self._next(outbox)
            if message is None:
                slots.release()
                await self._idle(redis, outbox, busy=bool(under_way))
                continue
            task = tasks.create_task(self._handle(outbox, http, message))
            under_way.add(task)
            task.add_done_callback(ended)

    async def _listen(self) -> None:
        """Be woken when a message is due; one of all who listen is."""
        async with connect_waiting(self._settings.ledger, longest_s=LONGEST_S) as redis:
            while True:
                try:
                    if await redis.blpop([WAKE], timeout=LONGEST_S):
                        self._woken.set()
                except (RedisError, OSError):
                    await asyncio.sleep(1.0)

    async def _idle(self, redis: FailFastRedis, outbox: Outbox, *, busy: bool) -> None:
        """Wait until there may be a message."""
        due_s = outbox.due_in_s
        if busy:
            limit_s: float | None = POLL_INTERVAL_S if due_s is None else min(due_s, POLL_INTERVAL_S)
        elif self._listens or (due_s is not None and due_s < LONGEST_S):
            limit_s = LONGEST_S if due_s is None else min(due_s, LONGEST_S)
        else:
            limit_s = None
            await redis.connection_pool.disconnect()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), None if limit_s is None else max(MIN_PAUSE_S, limit_s))

    async def _next(self, outbox: Outbox) -> Message | None:
        outbox.due_in_s = POLL_INTERVAL_S  # if this fails
        try:
            return await outbox.claim(lease_s=self._settings.webhook.timeout_s + LEASE_MARGIN_S)
        except LedgerUnavailable as error:
            log.warning("ledger unavailable", error=error.message)
        except Exception:
            log.exception("the webhook dispatcher failed")
        return None

    async def _handle(self, outbox: Outbox, http: httpx.AsyncClient, message: Message) -> None:
        began = time.monotonic()
        status, asked_s, error = 0, 0.0, ""
        final = False
        try:
            async with asyncio.timeout(self._settings.webhook.timeout_s):
                status, asked_s = await self._send(http, message)
        except TimeoutError:
            error = f"no answer within {self._settings.webhook.timeout_s:g} s (MURMUR_WEBHOOK__TIMEOUT_S)"
        except UrlNotAllowed as refused:
            error, final = refused.message, True
        except MurmurationError as failure:  # its receiver or the ledger can't be reached
            error = failure.message
        except Exception as failure:  # a message that can't be sent is one failed try, never the dispatcher's end
            log.exception("webhook")
            error = type(failure).__name__
        outcome = verdict(status)
        final = final or outcome is Verdict.DELIVERED
        took_s = time.monotonic() - began
        log.info(
            "webhook", job_id=message.job_id, message=message.id, attempt=message.attempt, outcome=outcome.value,
            status=status, error=error or None,
        )  # fmt: skip
        # What can't be settled is sent again when the lease is over: the receiver knows it by its id.
        with contextlib.suppress(LedgerUnavailable):
            await outbox.settle(
                message, outcome, retry_in_s=None if final else self._retry_in_s(message, asked_s), status=status,
                error=error, took_s=took_s,
            )  # fmt: skip

    async def _send(self, http: httpx.AsyncClient, message: Message) -> tuple[int, float]:
        """The status, and how many seconds the receiver asks to be left alone."""
        body, now = payload(message), int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": "Murmuration",
            "webhook-id": message.id,
            "webhook-timestamp": str(now),
        }
        # Whoever knows the platform's secret could sign as it for every tenant: one's own takes its place.
        secrets = await self._secrets.signing(message.tenant)
        secrets = secrets or [secret.get_secret_value() for secret in self._settings.webhook.secrets]
        if secrets:
            headers["webhook-signature"] = signatures(secrets, message.id, now, body)
        private = self._settings.outbound.allow_private_addresses
        # The answer's body is of no interest, and may have no end.
        async with opened(
            http, "POST", message.url, allow_private=private, headers=headers, content=body, owner=message.tenant
        ) as answer:
            return answer.status_code, asked_pause_s(answer.headers.get("retry-after", ""), now=time.time())

    def _retry_in_s(self, message: Message, asked_s: float) -> float | None:
        webhook = self._settings.webhook
        return next_try_s(
            message,
            first_s=FIRST_RETRY_S,
            longest_s=LONGEST_RETRY_S,
            give_up_s=webhook.give_up_s,
            jitter=random.random(),
            asked_s=asked_s,
        )
