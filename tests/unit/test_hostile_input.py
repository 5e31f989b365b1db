"""Input that means harm: bombs, tricks of containers, endless forms, trickles; each is refused, cheaply."""

import asyncio
import io
import json
import re
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest

from tests import audio_files
from tests.api_client import Bench, bench
from tests.recordings.hostile import matroska
from transcription.errors import MurmurationError, TooLong, UploadIncomplete
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode
from transcription.media.codecs.opened import OPEN_OPTIONS
from transcription.media.codecs.probe import probe
from transcription.tracks import MOST_TRACKS

pytestmark = pytest.mark.anyio

GOOD = audio_files.wav(0.2)
BOUNDARY = {"content-type": "multipart/form-data; boundary=XX"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "data", max_upload_bytes=2_000_000, max_duration_s=60) as running:
        yield running


def bomb(container: str, codec: str, seconds: int) -> bytes:
    """Silence that packs to nearly nothing, in a file that doesn't say how long it is."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    file = Pipe()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=48_000 if codec == "libopus" else 8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=stream.rate)
        frame.sample_rate = stream.rate
        frame.planes[0].update(bytes(2 * stream.rate))
        for second in range(seconds):
            frame.pts = second * stream.rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(("container", "codec", "seconds"), [("flac", "flac", 3600), ("ogg", "libopus", 40)])
def test_a_small_file_that_decodes_to_hours_is_given_up_at_the_limit(
    tmp_path: Path, container: str, codec: str, seconds: int
) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(bomb(container, codec, seconds))
    assert path.stat().st_size < 300 * seconds
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(TooLong):
            decode(path, limit_s=20)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5


def test_of_thousands_of_streams_only_so_many_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "many"
    path.write_bytes(matroska(10_000, [0, 100, 200]))
    began = time.process_time()
    assert len(probe(path, max_duration_s=60).streams) == MOST_TRACKS
    assert decode(path, limit_s=60).size == 0.3 * RATE
    assert time.process_time() - began < 20


PLAYLISTS = {
    "hls": audio_files.playlist("{target}"),
    "concat": b"ffconcat version 1.0\nfile '{target}'\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    b'<Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "imf": b'<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">{target}'
    b"</CompositionPlaylist>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_no_playlist_makes_the_decoder_read_another_file(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(GOOD)
    for target in (str(secret), secret.as_uri(), "http://127.0.0.1:9/a.wav", f"subfile,,start,0,end,0,,:{secret}"):
        path = tmp_path / f"upload.{kind}"
        path.write_bytes(PLAYLISTS[kind].replace(b"{target}", target.encode()))
        for read in (lambda p: probe(p, max_duration_s=60), lambda p: decode(p, limit_s=60)):
            with pytest.raises(MurmurationError) as refused:
                read(path)
            assert refused.value.code in {"unsupported_media", "corrupt_audio"}


def test_each_of_two_bars_keeps_playlists_out_though_the_other_one_would_do() -> None:
    assert OPEN_OPTIONS["protocol_whitelist"] == "none"
    taken = set(OPEN_OPTIONS["format_whitelist"].split(","))
    assert "wav" in taken
    assert not taken & {"hls", "concat", "dash", "sdp", "imf", "image2", "lavfi", "v4l2", "alsa", "tty", "ffmetadata"}


async def test_thousands_of_parts_are_refused_at_the_first_too_many(api: Bench) -> None:
    part = b'--XX\r\nContent-Disposition: form-data; name="x%d"\r\n\r\n\r\n'
    body = b"".join(part % n for n in range(4000)) + b"--XX--\r\n"
    answer = await api.http.post("/v1/jobs", content=body, headers=BOUNDARY)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert "parts" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Junk: " + b"y" * 100_000,
        b"\r\n".join(b"X-%d: y" % n for n in range(5000)),
        b"Content-Disposition: " + b";" * 50_000,
    ],
)
async def test_endless_headers_of_a_part_are_refused(api: Bench, headers: bytes) -> None:
    body = b"--XX\r\n" + headers + b'\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + GOOD
    answer = await api.http.post("/v1/jobs", content=body + b"\r\n--XX--\r\n", headers=BOUNDARY)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert api.leftovers() == []


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
async def test_json_nested_beyond_reason_is_refused(api: Bench, opening: bytes) -> None:
    body = b'{"audio": "", "x": ' + opening * 20_000
    for end in (b"", b"]" * 20_000):
        answer = await api.http.post("/v1/jobs", content=body + end, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


async def test_a_prompt_has_a_longest_length(api: Bench) -> None:
    for length, status in ((4000, 202), (4001, 422)):
        answer = await api.submit(GOOD, prompt="x" * length)
        assert answer.status_code == status
    assert "at most 4000" in answer.json()["detail"]
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "name",
    [
        'a"; filename="b.mp3',
        "a\r\nSet-Cookie: stolen=1\r\n\r\n.mp3",
        "../../../etc/cron.d/x",
        "\x00\x1b[31m.wav",
        "я" * 3000,
    ],
)
async def test_no_file_name_gets_into_a_header_or_a_path(api: Bench, name: str) -> None:
    answer = await api.http.post(
        "/v1/jobs", params={"filename": name}, content=GOOD, headers={"content-type": "audio/wav"}
    )
    assert answer.status_code == 202
    job = answer.json()["id"]
    api.jobs.finish(job)
    result = await api.http.get(f"/v1/jobs/{job}/result", params={"format": "srt"})
    raw = result.headers["content-disposition"]
    assert result.status_code == 200
    assert "set-cookie" not in result.headers
    assert raw.isprintable()
    assert raw.isascii()
    assert len(raw) < 2500
    # One quoted string, one in percent signs: nothing ends either early.
    assert re.fullmatch(r"inline; filename=\"[^\"\\]*\"(; filename\*=UTF-8''[\w.%~!#$&+^`|-]*)?", raw), raw
    assert len(api.leftovers()) == 1


async def test_a_body_that_trickles_in_is_cut_off(tmp_path: Path) -> None:
    limits = {"upload_timeout_s": 0.3, "min_upload_bytes_per_s": 1000}

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b"x"

    async with bench(tmp_path, **limits) as api:
        answer = await api.http.post("/v1/jobs", content=trickle(), headers={"content-type": "audio/wav"})
        assert (answer.status_code, answer.json()["code"]) == (408, UploadIncomplete.code)
        assert "at least 1000 a second" in answer.json()["detail"]
        assert api.leftovers() == []


async def test_a_client_that_falls_silent_is_cut_off(tmp_path: Path) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async with bench(tmp_path, upload_timeout_s=0.1, min_upload_bytes_per_s=0) as api:
        request = api.http.post("/v1/jobs", content=silent(), headers={"content-type": "audio/wav"})
        answer = await asyncio.wait_for(request, 30)
        assert (answer.status_code, answer.json()["code"]) == (408, UploadIncomplete.code)
        assert "no byte came for 0.1 s" in answer.json()["detail"]
        assert api.leftovers() == []


async def test_what_is_too_long_by_its_header_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with bench(tmp_path, max_upload_bytes=200_000) as api:
        headers = {"content-type": "audio/wav", "content-length": "200001"}
        answer = await api.http.post("/v1/jobs", content=body(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_what_follows_a_form_is_not_read_for_ever(tmp_path: Path) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        yield b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        yield audio_files.wav(0.1)
        yield b"\r\n--XX--\r\n"
        for _ in range(100):
            read += 100_000
            yield bytes(100_000)

    async with bench(tmp_path, max_upload_bytes=200_000) as api:
        headers = {"content-type": "multipart/form-data; boundary=XX"}
        answer = await api.http.post("/v1/jobs", content=body(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert read < 1_000_000
        assert api.leftovers() == []


async def test_no_upload_takes_for_ever(tmp_path: Path) -> None:
    async def steady() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b"x" * 1000

    async with bench(tmp_path, max_upload_s=0.4, upload_timeout_s=30) as api:
        answer = await api.http.post("/v1/jobs", content=steady(), headers={"content-type": "audio/wav"})
        assert (answer.status_code, answer.json()["code"]) == (408, UploadIncomplete.code)
        assert "MURMUR_LIMITS__MAX_UPLOAD_S" in answer.json()["detail"]


async def test_compressed_bodies_are_not_unpacked(api: Bench) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await api.http.post("/v1/jobs", content=b"\x1f\x8b\x08" + bytes(1000), headers=headers)
    assert answer.status_code in {400, 415}


async def test_refusals_repeat_no_more_than_a_little_of_what_came(api: Bench) -> None:
    for fields in ({"x" * 50_000: "1"}, {"language": "z" * 50_000}, {"temperature": "<script>" * 1000}):
        answer = await api.submit(GOOD, **fields)
        assert answer.status_code in {400, 422}
        assert len(answer.content) < 3000, json.loads(answer.content)["detail"][:100]
        assert answer.headers["content-type"] == "application/problem+json"
