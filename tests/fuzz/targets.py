"""What is fuzzed: every form of upload to every route that takes one, and the decoder behind them."""

import base64
import io
import json
import random
import re
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tests import audio_files
from tests.fuzz.mutations import damaged
from tests.recordings.corpus import Form, written
from tests.recordings.hostile import matroska

_TYPES = (
    "multipart/form-data; boundary=XX", "application/json", "audio/wav", "video/mp4", "application/octet-stream",
    "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "", "audio/\xff",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One request, complete."""

    method: str
    path: str
    content_type: str
    body: bytes


@cache
def recordings() -> tuple[bytes, ...]:
    """A small good file of every kind that is often sent."""
    video = audio_files.video(seconds=0.2)
    kinds = (("flac", "flac", 16_000), ("ogg", "libopus", 48_000), ("webm", "libopus", 48_000), ("ipod", "aac", 16_000))
    encoded = [audio_files.encoded(kind, codec, seconds=0.2, rate=rate) for kind, codec, rate in kinds]
    plain = (audio_files.wav(0.05, rate=8000), audio_files.mp3(0.3), _tiny(), video, *encoded)
    return (*plain, *_odd(encoded))


def _odd(encoded: list[bytes]) -> Iterator[bytes]:
    """Those that take the long way: glued, with gaps and jumps, with many tracks, with channels that nobody named."""
    yield encoded[1] * 3
    yield encoded[3] * 3 + bytes(100)
    yield audio_files.wav(0.05) + encoded[0] + audio_files.wav(0.05, channels=9)
    yield audio_files.encoded("amr", "libopencore_amrnb", seconds=0.3, rate=8000) * 2
    yield audio_files.encoded("adts", "aac", seconds=0.3)
    yield audio_files.encoded("wv", "wavpack", seconds=0.2) * 2
    yield matroska(3, [0, 100, 9000, 100_000, 50, 99_999_999])
    tag, mp3, wav = b"ID3\x04\0\0\0\0\0\x20" + bytes(32), audio_files.mp3(0.3), audio_files.wav(0.05)
    yield tag + mp3 + tag + mp3[200:] + tag + encoded[0] + tag + wav
    yield bytes(50) + wav[:40] + bytes(4) + wav[44:]
    sizes = b"ds64\x1c\0\0\0" + b"\xff" * 24 + bytes(4)
    yield b"RF64\xff\xff\xff\xffWAVE" + sizes + wav[12:40] + b"\xff" * 4 + wav[44:] + wav
    yield audio_files.encoded("tta", "tta", seconds=0.2) * 2
    yield _live(encoded[2])
    for container, codec in (("aiff", "pcm_s16be"), ("caf", "pcm_s16le"), ("flac", "flac")):
        yield written(Form(container, codec, 8000), [np.zeros((8, 400), np.int16)], layout="7.1")
    yield written(Form("mp4", "aac", 48_000), [np.zeros((8, 4000), np.int16)], layout="7.1")[:-600]


def _live(webm: bytes) -> bytes:
    """A WebM whose segment doesn't know its size."""
    size = webm.index(b"\x18S\x80g") + 4
    return webm[:size] + b"\x01" + b"\xff" * 7 + webm[size + 8 :]


def _tiny() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8000)
        out.writeframes(bytes(80))
    return file.getvalue()


def forms(generator: random.Random, audio: bytes) -> Iterator[tuple[str, bytes]]:
    """*audio* in each form that some route takes, with options of any kind."""
    option = generator.choice(("language", "prompt", "temperature", "model", "priority", "stream", "response_format"))
    value = generator.choice(("en", "", "7", "true", "x" * 300, "\x00", "☃", "-1e999", "srt", "{}"))
    name = generator.choice(("file", "audio_file", "audio"))
    part = f'--XX\r\nContent-Disposition: form-data; name="{option}"\r\n\r\n{value}\r\n'.encode()
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'.encode()
    yield "multipart/form-data; boundary=XX", part + head + audio + b"\r\n--XX--\r\n"
    text = base64.b64encode(audio).decode()
    yield "application/json", json.dumps({"audio": text, option: value}).encode()
    chat = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}]}]
    yield "application/json", json.dumps({"model": "whisper-1", "messages": chat}).encode()
    yield "audio/wav", audio


def routes(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Every (method, path) of an OpenAPI document, its parameters filled with an id that nobody has."""
    found = []
    for path, operations in document["paths"].items():
        found += [(method.upper(), re.sub(r"{\w+}", "0" * 32, path)) for method in operations]
    return sorted(found)


def requests(seed: int, count: int, known: list[tuple[str, str]]) -> Iterator[Request]:
    """*count* requests, most of them to routes that take a recording, each damaged somewhere."""
    posts = [route for route in known if route[0] == "POST" and "0" * 32 not in route[1]]
    for number in range(count):
        generator = random.Random(seed * 1_000_003 + number)
        method, path = generator.choice(posts if generator.random() < 0.9 else known)
        audio = generator.choice(recordings())
        if generator.random() < 0.7:
            audio = damaged(generator, audio)
        content_type, body = generator.choice(list(forms(generator, audio)))
        if generator.random() < 0.4:
            body = damaged(generator, body)
        if generator.random() < 0.1:
            content_type = generator.choice(_TYPES)
        if generator.random() < 0.2:
            path += "?" + damaged(generator, b"language=en&response_format=srt").decode("latin-1")
        yield Request(method, path, content_type, body)
