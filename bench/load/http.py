"""The least of an HTTP client: thousands of connections in one process must cost less than what they measure."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the headers by their names in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A connection that is kept, and opened anew when it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    def to(cls, url: str) -> Self:
        """A connection to `http://HOST:PORT`."""
        host, _, port = url.removeprefix("http://").partition(":")
        return cls(host, int(port))

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send a request and take its whole answer. OSError, EOFError."""
        reader = await self.send(method, path, body, **headers)
        answer = await _head(reader)
        length = int(answer.headers.get("content-length", "0"))
        body = await reader.readexactly(length) if length else b""
        if "transfer-encoding" in answer.headers:
            body = b"".join([chunk async for chunk in _chunks(reader)])
        if answer.headers.get("connection") == "close":
            self.close()
        return Answer(answer.status, answer.headers, body)

    async def stream(self, path: str) -> tuple[Answer, AsyncIterator[bytes]]:
        """Send a request and give its answer's head, and its body as it comes. OSError, EOFError."""
        reader = await self.send("GET", path)
        answer = await _head(reader)
        return answer, _chunks(reader)

    async def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> asyncio.StreamReader:
        """Send a request; who wants its answer reads on."""
        # A server closes connections that were idle for seconds; that is no error of anybody's.
        if self._streams is None or self._streams[1].is_closing() or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}:{self._port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if method == "POST" and "content_length" not in headers:
            lines.append(f"content-length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return reader

    async def write(self, data: bytes) -> None:
        """Send more of a body."""
        assert self._streams is not None
        self._streams[1].write(data)
        await self._streams[1].drain()

    async def answer(self) -> Answer:
        """The answer to a request whose body was sent piece by piece."""
        assert self._streams is not None
        answer = await _head(self._streams[0])
        return Answer(
            answer.status,
            answer.headers,
            await self._streams[0].readexactly(int(answer.headers.get("content-length", "0"))),
        )

    def close(self) -> None:
        """Let go."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _head(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split(" ")[1]), headers, b"")


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = int((await reader.readline()).split(b";")[0] or b"0", 16)
        chunk = await reader.readexactly(size + 2)
        if not size:
            return
        yield chunk[:-2]
