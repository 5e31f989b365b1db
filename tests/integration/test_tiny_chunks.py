"""A body in tiny chunks costs the API no more than its bytes do."""

import socket
from pathlib import Path

import psutil

from tests import audio_files
from tests.live_api import api_process, api_settings

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(body: bytes, size: int) -> bytes:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def answer(port: int, request: bytes) -> bytes:
    """What comes until the other end closes; nobody sends on when an answer is there."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        said = b""
        try:
            raw.sendall(request)
            while more := raw.recv(65_536):
                said += more
                if b'"id"' in said:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass
        return said


def test_six_million_chunks_of_one_byte_are_broken_off_and_small_ones_are_taken(redis_url: str, tmp_path: Path) -> None:
    with api_process(api_settings(redis_url, tmp_path)) as (http, process):
        port = http.base_url.port

        def cpu() -> float:
            times = psutil.Process(process.pid).cpu_times()
            return times.user + times.system

        before = cpu()
        said = answer(port, HEAD + chunked(bytes(6_000_000), 1))
        # What was sent on meanwhile may have taken the answer along.
        assert not said or said.startswith(b"HTTP/1.1 400")
        assert cpu() - before < 1.5
        assert http.get("/health/live").status_code == 200
        wav = audio_files.wav(2.0)
        small = answer(port, HEAD + chunked(wav, 20))
        assert small.startswith(b"HTTP/1.1 202"), small[:300]
        ten = answer(port, HEAD + chunked(wav[:9000], 1))
        assert ten.startswith(b"HTTP/1.1 "), ten[:300]
