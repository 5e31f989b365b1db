"""
Clients by the thousand, a process of their own: `python -m bench.load.crowd KIND HOST PORT`, a line of JSON each way.

What they measure is the platform's time, so the driver does little: a protocol for each client, no task, no parser. A
poll's time begins when it was due, not when the driver came to send it, and ends when its answer was read: a platform
(or a driver) that is late can't hide it by asking less. How late the driver itself was is counted beside it.
"""

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench.load.stack import allow_files

LONG_POLL_S = 60
SILENCE_S = 25.0
"""How long an event stream may be silent: the platform says each 15 s that it is still there."""

AGAIN_S = 1.0
_OPEN = (b'"status":"queued"', b'"status":"processing"')


@dataclass
class Seen:
    """What clients of one kind met since the last report. ``ends``: jobs and when their end was heard, by the clock."""

    polls_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    ends: list[tuple[str, float]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


class Crowd:
    """What the clients of a process share."""

    def __init__(self, kind: str, host: str, port: int) -> None:
        self.kind, self.host, self.port = kind, host, port
        self.loop = asyncio.get_running_loop()
        self.pace = 1.0
        self.seen = Seen()
        self.spare: list[str] = []
        self.clients: list[Client] = []
        self._connecting: set[asyncio.Task[Any]] = set()

    def start(self, jobs: list[str], spare: list[str], within_s: float) -> None:
        """Let a client come for each of *jobs*, at any time within so many seconds."""
        self.spare = spare[::-1]
        make = {"poll": Poll, "long-poll": LongPoll, "events": Events}[self.kind]
        for job in jobs:
            client = make(self, job)
            self.clients.append(client)
            self.loop.call_later(random.uniform(0, within_s), client.ask)

    def connect(self, client: "Client") -> None:
        """Open a connection for a client, or count that it couldn't be."""

        async def opened() -> None:
            try:
                await self.loop.create_connection(lambda: client, self.host, self.port)
            except OSError as error:
                client.failed(type(error).__name__)

        task = self.loop.create_task(opened())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def obey(self, order: dict[str, Any]) -> None:
        """Do what the parent says."""
        if "jobs" in order:
            self.start(order["jobs"], order["spare"], order["within_s"])
        self.pace = order.get("pace", self.pace)
        if order.get("report"):
            seen, self.seen = self.seen, Seen()
            here = sum(client.here for client in self.clients)
            print(json.dumps({**vars(seen), "here": here, "cpu_s": time.process_time()}), flush=True)


class Client(asyncio.Protocol):
    """One client with a job: it asks, and takes the next job when that has ended."""

    accept = ""

    def __init__(self, crowd: Crowd, job: str) -> None:
        self.crowd = crowd
        self.job = job
        self.tag = ""
        self.here = False
        self.due = 0.0
        self.transport: Any = None
        self.held = b""
        self.asked = False
        self.reused = False

    def path(self) -> str:
        """What it asks for."""
        raise NotImplementedError

    def answered(self, status: int, head: bytes, body: bytes) -> None:
        """Take a whole answer."""
        raise NotImplementedError

    def ask(self) -> None:
        """Send the request, on a new connection where there is none."""
        self.asked = True
        self.due = self.due or self.crowd.loop.time()
        if self.transport is None or self.transport.is_closing():
            self.transport = None
            self.crowd.connect(self)
            return
        condition = f"if-none-match: {self.tag}\r\n" if self.tag else ""
        head = f"GET {self.path()} HTTP/1.1\r\nhost: {self.crowd.host}:{self.crowd.port}\r\n{condition}\r\n"
        self.transport.write(head.encode())

    def again(self, after_s: float) -> None:
        """Ask again after so many seconds; that is when it is due."""
        self.asked = False
        self.due = self.crowd.loop.time() + after_s
        self.crowd.loop.call_at(self.due, self._on_time)

    def _on_time(self) -> None:
        self.crowd.seen.late_ms.append(1000 * (self.crowd.loop.time() - self.due))
        self.ask()

    def failed(self, what: str) -> None:
        """Count an error, and go on after a second."""
        self.crowd.seen.errors[f"{self.crowd.kind}: {what}"] += 1
        self.drop()
        self.again(AGAIN_S)

    def drop(self) -> None:
        """Let the connection go."""
        if self.transport is not None:
            self.transport.abort()
        self.transport, self.held = None, b""

    def ended(self) -> None:
        """Take the next job: this one's end was heard."""
        self.crowd.seen.ends.append((self.job, time.time()))
        self.tag = ""
        if self.crowd.spare:
            self.job = self.crowd.spare.pop()
            self.again(0.0)
        else:
            self.failed("no job is left")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask what it came for."""
        self.transport, self.held, self.reused = transport, b"", False
        self.ask()

    def data_received(self, data: bytes) -> None:
        """Take an answer when it is whole."""
        self.held += data
        end = self.held.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.held[:end].lower()
        length = int(_field(head, b"content-length") or 0)
        if len(self.held) < end + 4 + length:
            return
        body, self.held = self.held[end + 4 : end + 4 + length], self.held[end + 4 + length :]
        status = int(head[9:12])
        self.crowd.seen.answers[f"{self.crowd.kind} {status}"] += 1
        self.here, self.asked, self.reused = True, False, True
        if status in (200, 304):
            self.answered(status, head, body)
        else:
            self.failed(str(status))

    def connection_lost(self, _: Exception | None) -> None:
        """A server closes connections that are idle, perhaps just when they are used again; no others."""
        asked, self.transport = self.asked and self.transport is not None, None
        if asked and self.reused and not self.held:
            self.crowd.seen.answers[f"{self.crowd.kind}, asked again on a new connection"] += 1
            self.crowd.connect(self)
        elif asked:
            self.failed("broken off")


class Poll(Client):
    """Looks at the pace that `Retry-After` names."""

    def path(self) -> str:
        """The job."""
        return f"/v1/jobs/{self.job}"

    def answered(self, status: int, head: bytes, body: bytes) -> None:
        """Count how long it took since it was due."""
        self.crowd.seen.polls_ms.append(1000 * (self.crowd.loop.time() - self.due))
        if status == 200 and not any(one in body for one in _OPEN):
            self.ended()
            return
        self.tag = (_field(head, b"etag") or b"").decode()
        self.again(self.crowd.pace * float(_field(head, b"retry-after") or 1))


class LongPoll(Client):
    """Holds a request until the job's end."""

    def path(self) -> str:
        """The job at its end."""
        return f"/v1/jobs/{self.job}?wait={LONG_POLL_S}"

    def ask(self) -> None:
        """It is there when it has asked: the answer comes much later."""
        super().ask()
        self.here = self.transport is not None

    def answered(self, status: int, head: bytes, body: bytes) -> None:  # noqa: ARG002
        """Hear of the end, or ask again."""
        if any(one in body for one in _OPEN):
            self.again(0.0)
        else:
            self.ended()


class Events(Client):
    """Holds an event stream until the job's end, and expects a sign of life of it."""

    _heard_at = 0.0
    _streaming = False
    _guard: asyncio.TimerHandle | None = None

    def path(self) -> str:
        """The job's events."""
        return f"/v1/jobs/{self.job}/events"

    def data_received(self, data: bytes) -> None:
        """Take what comes; the stream's last chunk ends it."""
        self._heard_at = self.crowd.loop.time()
        self.held = (self.held + data)[-4096:]
        if not self._streaming:
            status = data[9:12].decode()
            self.crowd.seen.answers[f"events {status}"] += 1
            if status != "200":
                self.failed(status)
                return
            self.here = self._streaming = True
            self._watch()
        if self.held.endswith(b"0\r\n\r\n") and b"event: done" in self.held:
            self.held, self.asked, self.reused = b"", False, True
            self._over()
            self.ended()

    def failed(self, what: str) -> None:
        """Count an error, and go on after a second."""
        self._over()
        super().failed(what)

    def _over(self) -> None:
        self._streaming = False
        if self._guard is not None:
            self._guard.cancel()

    def _watch(self) -> None:
        silent_s = self.crowd.loop.time() - self._heard_at
        if silent_s >= SILENCE_S:
            self.failed("silent")
        else:
            self._guard = self.crowd.loop.call_later(SILENCE_S - silent_s, self._watch)


def _field(head: bytes, name: bytes) -> bytes | None:
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    end = head.find(b"\r\n", at + 2)
    return head[at + len(name) + 3 : end if end >= 0 else len(head)].strip()


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    loop.default_exception_handler(context)
    os._exit(1)  # a driver with a fault of its own measures nothing


async def _serve(kind: str, host: str, port: int) -> None:
    asyncio.get_running_loop().set_exception_handler(_give_up)
    crowd, over = Crowd(kind, host, port), asyncio.Event()

    def read(call: Callable[..., object]) -> None:
        for line in sys.stdin:
            call(crowd.obey, json.loads(line))
        call(over.set)

    threading.Thread(target=read, args=[crowd.loop.call_soon_threadsafe], daemon=True).start()
    await over.wait()


if __name__ == "__main__":
    allow_files()
    uvloop.run(_serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
