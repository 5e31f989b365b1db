"""Both HTTP servers, in two processes: who waits in either is woken, who leaves is let go, a stop answers everybody."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from murmur.platform.ledger_server import LedgerServer
from tests import audio_files
from tests.api_processes import Api, two_processes
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually, running_ledger
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Ledger, Settings

WAITING = 12
"""Clients of each kind: that one process got none of them is as good as impossible."""
POLLING = 4
NOTICED_S = {"uvicorn": 20, "granian": 75}
"""Until a client that left is let go. Granian may miss one that leaves before the API listens: its 60 s end it."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerServer]:
    with running_ledger(tmp_path / "ledger") as server:
        yield server


@pytest.mark.timeout(180)
@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_both_servers_wake_those_who_wait_let_go_of_those_who_leave_and_answer_all_at_a_stop(
    ledger: LedgerServer, tmp_path: Path, server: str
) -> None:
    """One platform for all of it: each start takes seconds."""
    if find_spec(server) is None:
        pytest.skip(f"{server} isn't installed")
    settings = Settings(model="demo", ledger=Ledger(url=SecretStr(ledger.url)))
    with two_processes(ledger, tmp_path / "data", server=server) as api:
        asyncio.run(_waiting_clients_of_both_processes_are_woken(api, RedisSpans(connect(settings.ledger), settings)))
        asyncio.run(_those_who_leave_are_let_go(api, within_s=NOTICED_S[server]))
        asyncio.run(_slow_upload_is_taken_and_a_broken_one_leaves_nothing(api, tmp_path / "data"))
        _polls_go_on_until_a_stop_and_are_refused_then(api)


async def _submit(http: httpx.AsyncClient, seconds: float) -> str:
    answer = await http.post("/v1/jobs", files={"file": ("a.wav", audio_files.wav(seconds))})
    return str(answer.json()["id"])


def _many(api: Api) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=api.url, timeout=60, limits=httpx.Limits(max_connections=100))


async def _waiting_clients_of_both_processes_are_woken(api: Api, spans: RedisSpans) -> None:
    async with _many(api) as http:
        job = await _submit(http, 10.0)
        waits = [asyncio.create_task(http.get(f"/v1/jobs/{job}?wait=60")) for _ in range(WAITING)]
        streams = [asyncio.create_task(http.get(f"/v1/jobs/{job}/events")) for _ in range(WAITING)]
        await asyncio.to_thread(eventually, lambda: api.in_flight() >= 2 * WAITING, 20)
        began = time.monotonic()
        await asyncio.to_thread(LedgerWorker(spans).work)
        assert [(await one).json()["status"] for one in waits] == ["completed"] * WAITING
        assert ["event: done" in (await one).text for one in streams] == [True] * WAITING
        assert time.monotonic() - began < 30  # and not when their 60 seconds are over


async def _those_who_leave_are_let_go(api: Api, *, within_s: float) -> None:
    async with _many(api) as http:
        job = await _submit(http, 3.0)
        paths = [f"/v1/jobs/{job}?wait=60", f"/v1/jobs/{job}/events"] * WAITING
        waits = [asyncio.create_task(http.get(path)) for path in paths]
        await asyncio.to_thread(eventually, lambda: api.in_flight() >= 2 * WAITING, 20)
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await asyncio.to_thread(eventually, lambda: api.in_flight() <= 1, within_s)


async def _slow_upload_is_taken_and_a_broken_one_leaves_nothing(api: Api, directory: Path) -> None:
    audio = audio_files.wav(4.0)
    pieces = [audio[start : start + len(audio) // 8] for start in range(0, len(audio), len(audio) // 8)]
    host, _, port = api.url.removeprefix("http://").partition(":")
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: {host}\r\ncontent-type: audio/wav\r\ncontent-length: {len(audio)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode())
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.to_thread(api.in_flight)  # a piece for each round trip of somebody else's
    assert (await reader.readline()).startswith(b"HTTP/1.1 202")
    writer.close()
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + pieces[0] + pieces[1])
    await writer.drain()
    await asyncio.to_thread(eventually, lambda: api.in_flight() >= 2, 20)
    writer.transport.abort()
    await asyncio.to_thread(eventually, lambda: api.in_flight() <= 1, 20)
    assert not await asyncio.to_thread(lambda: [*directory.rglob("*.part")])


def _polls_go_on_until_a_stop_and_are_refused_then(api: Api) -> None:
    met: Counter[str] = Counter()
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            try:
                met[str(httpx.get(f"{api.url}/v1/jobs/{'0' * 32}", timeout=20).status_code)] += 1
            except httpx.ConnectError:
                over.set()  # whoever comes now asks another replica
            except httpx.TransportError as error:
                met[type(error).__name__] += 1

    clients = [threading.Thread(target=poll) for _ in range(POLLING)]
    for one in clients:
        one.start()
    try:
        eventually(lambda: met["404"] >= 40, within_s=30)
        api.process.terminate()
        for one in clients:
            one.join(30)
    finally:
        over.set()
    # Granian cuts off whom it still has in its queue; ours, who is silent for half a second. Who isn't: `test_stop.py`.
    assert set(met) <= {"404", "ReadError", "RemoteProtocolError"}, met
    assert api.process.wait(30) == 0
