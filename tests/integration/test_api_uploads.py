"""Uploads over real sockets: cut off, stalled, too large, killed in the middle, and very long ones."""

import json
import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from redis import Redis

from tests import audio_files
from tests.api_processes import sample
from tests.live_api import api_process, api_settings, live_api
from tests.platform import eventually
from transcription.storage.disk import DiskBlobs

LIMIT = 3_000_000
GROWTH_LIMIT = 40 << 20
FORM_HEAD = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
FORM_TAIL = b"\r\n--XX--\r\n"
FORM = "multipart/form-data; boundary=XX"


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def api(ledger_url: str, data_dir: Path) -> Iterator[httpx.Client]:
    with live_api(api_settings(ledger_url, data_dir, max_upload_bytes=LIMIT, upload_timeout_s=0.5)) as client:
        yield client


@contextmanager
def connection(api: httpx.Client) -> Iterator[socket.socket]:
    with socket.create_connection((api.base_url.host, api.base_url.port or 80), timeout=20) as raw:
        yield raw


def head(kind: str, **headers: str | int) -> bytes:
    lines = ["POST /v1/jobs HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(raw: socket.socket) -> tuple[int, dict[str, object]]:
    """The status and the problem that come over *raw*."""
    data = b""
    while not (found := re.search(rb"content-length: (\d+)", data)) or b"\r\n\r\n" not in data:
        data += raw.recv(65_536) or pytest.fail(f"the connection ended after {data!r}")
    body = data.partition(b"\r\n\r\n")[2]
    while len(body) < int(found[1]):
        body += raw.recv(65_536)
    return int(data.split(b" ")[1]), json.loads(body)


@pytest.mark.parametrize("kind", [FORM, "audio/wav", "application/json"])
@pytest.mark.parametrize("rudely", [False, True])
def test_upload_that_is_cut_off_leaves_no_file_and_no_job(
    api: httpx.Client, data_dir: Path, redis_server: Redis, kind: str, *, rudely: bool
) -> None:
    start = {FORM: FORM_HEAD, "application/json": b'{"audio": "'}.get(kind, b"")
    with connection(api) as raw:
        raw.sendall(head(kind, Content_Length=2_500_000) + start + b"UklG" * 550_000)
        eventually(lambda: files(data_dir), within_s=30)
        if rudely:  # a reset instead of a farewell
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: not files(data_dir))
    assert not redis_server.keys("murmur:job:*")
    assert redis_server.llen("murmur.demo") == 0


def test_upload_that_falls_silent_is_given_up_with_408(api: httpx.Client, data_dir: Path) -> None:
    with connection(api) as raw:
        raw.sendall(head("audio/wav", Content_Length=2_000_000) + audio_files.wav(30))
        status, problem = answer(raw)
    assert (status, problem["code"]) == (408, "upload_incomplete")
    assert "0.5 s" in str(problem["detail"])
    eventually(lambda: not files(data_dir))


def test_an_upload_is_counted_while_it_comes_and_no_longer(api: httpx.Client) -> None:
    def counted() -> float:
        return sample(api.get("/metrics").text, "murmur_submits_in_flight")

    with connection(api) as raw:
        raw.sendall(head("audio/wav", Content_Length=2_000_000) + audio_files.wav(1))

        def comes() -> bool:
            raw.sendall(b"\0" * 100)
            return counted() == 1

        eventually(comes)
        assert answer(raw)[0] == 408
    eventually(lambda: counted() == 0)


def test_too_large_upload_is_refused_by_its_header_before_a_byte_of_it_is_sent(
    api: httpx.Client, data_dir: Path
) -> None:
    with connection(api) as raw:
        raw.sendall(head(FORM, Content_Length=LIMIT * 10, Expect="100-continue"))
        status, problem = answer(raw)
    assert (status, problem["code"]) == (413, "too_large")
    assert files(data_dir) == []


def test_too_large_upload_without_a_length_is_refused_while_it_streams(api: httpx.Client, data_dir: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield FORM_HEAD
        for _ in range(LIMIT // 50_000 + 20):
            yield b"x" * 50_000
        yield FORM_TAIL

    refused = api.post("/v1/jobs", content=chunks(), headers={"content-type": FORM})
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    eventually(lambda: not files(data_dir))


def test_client_that_sends_everything_before_it_reads_still_gets_the_refusal(api: httpx.Client, data_dir: Path) -> None:
    body = FORM_HEAD.replace(b'"file"', b'"audio"') + b"x" * 2_900_000 + FORM_TAIL
    with connection(api) as raw:
        raw.sendall(head(FORM, Content_Length=len(body)) + body)
        assert select.select([raw], [], [], 20)[0]  # the answer is there, and nobody has read it
        status, problem = answer(raw)
    assert (status, problem["code"]) == (400, "missing_file")
    assert files(data_dir) == []


def test_connection_goes_on_to_serve_after_a_refused_upload(api: httpx.Client) -> None:
    for _ in range(3):
        assert api.post("/v1/jobs", files={"audio": b"x" * 500_000}).status_code == 400
        assert api.get("/health/live").status_code == 200


def test_memory_stays_bounded_in_a_long_upload(redis_url: str, tmp_path: Path) -> None:
    header = audio_files.wav(0)

    def wav(size: int) -> Iterator[bytes]:
        yield header[:4] + struct.pack("<I", size + 36) + header[8:40] + struct.pack("<I", size)
        for _ in range(size // 1_000_000):
            yield b"\x01\x00" * 500_000

    def form(size: int) -> Iterator[bytes]:
        yield FORM_HEAD
        yield from wav(size)
        yield FORM_TAIL

    with api_process(api_settings(redis_url, tmp_path)) as (client, process):
        watched = psutil.Process(process.pid)
        warm = client.post("/v1/jobs", content=form(2_000_000), headers={"content-type": FORM})
        assert warm.status_code == 202
        before = watched.memory_info().rss
        peak = 0

        def measured() -> Iterator[bytes]:
            nonlocal peak
            for number, chunk in enumerate(form(200_000_000)):
                if number % 10 == 0:
                    peak = max(peak, watched.memory_info().rss)
                yield chunk

        began = time.monotonic()
        job = client.post("/v1/jobs", content=measured(), headers={"content-type": FORM})
        took = time.monotonic() - began
        peak = max(peak, watched.memory_info().rss)
    assert job.status_code == 202, job.text
    assert job.json()["audio"]["bytes"] == 200_000_044
    assert job.json()["audio"]["duration_s"] == 6250.0
    assert peak - before < GROWTH_LIMIT
    print(f"200 MB in {took:.1f} s, {200 / took:.0f} MB/s, grew by {(peak - before) >> 20} MiB")


def test_api_killed_in_the_middle_of_an_upload_leaves_only_what_the_sweeper_takes(
    redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    with api_process(api_settings(redis_url, tmp_path)) as (client, process), connection(client) as raw:
        raw.sendall(head("audio/wav", Content_Length=50_000_000) + b"x" * 2_500_000)
        eventually(lambda: files(tmp_path), within_s=30)
        process.kill()
        assert process.wait(10)
    assert [name.endswith(".part") for name in files(tmp_path)] == [True]
    assert not redis_server.keys("murmur:job:*")
    old = time.time() - 10
    os.utime(next(tmp_path.rglob("*.part")), (old, old))
    assert DiskBlobs(tmp_path / "blobs").sweep(older_than_s=5, held=lambda _: ()) == 1
    assert files(tmp_path) == []
