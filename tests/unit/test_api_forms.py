"""The parsers of bodies, fed in pieces of every size."""

import base64
import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.uploads.form import MAX_SAMPLES_BYTES, Form
from api.uploads.incoming import Incoming
from api.uploads.json_form import Base64Stream, JsonForm
from api.uploads.multipart import MultipartForm
from transcription.access import Principal
from transcription.errors import BadBase64, MalformedRequest, MissingFile, MurmurationError

MULTIPART = (
    b'preamble\r\n--XX\r\nContent-Disposition: form-data; name="language"\r\n\r\nen\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a b.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"\r\n--X\r\n--XY some \x00 bytes --XX\r\n"
    b'\r\n--XX\r\ncontent-disposition: form-data; name="timestamp_granularities[]"\r\n\r\nword\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="timestamp_granularities[]"\r\n\r\nsegment\r\n--XX--\r\nepilogue'
)[10:]
AUDIO = b"\r\n--X\r\n--XY some \x00 bytes --XX\r\n"


def feed(form: Form, body: bytes, size: int) -> bytes:
    """Everything that *form* takes for audio, fed in pieces."""
    audio = b"".join(part for at in range(0, len(body), size) for part in form.feed(body[at : at + size]))
    form.close()
    return audio


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_multipart_gives_the_file_and_the_fields_whatever_the_pieces(size: int) -> None:
    form = MultipartForm("multipart/form-data; boundary=XX")
    assert feed(form, MULTIPART, size) == AUDIO
    assert form.fields == {"language": "en", "timestamp_granularities": ["word", "segment"]}
    assert form.filename == "a b.wav"


@settings(deadline=None)
@given(audio=st.binary(max_size=300), size=st.integers(1, 400), before=st.booleans(), indent=st.sampled_from([None, 2]))
def test_json_gives_the_audio_and_the_fields_whatever_the_pieces(
    audio: bytes, size: int, before: bool, indent: int | None
) -> None:
    others = {"prompt": 'a "quoted" \\ audio: {x} ☃', "nested": {"audio": ["no"]}, "beam_size": 3}
    encoded = {"audio": base64.b64encode(audio).decode()}
    body = json.dumps({**encoded, **others} if before else {**others, **encoded}, indent=indent).encode()
    form = JsonForm()
    assert feed(form, body, size) == audio
    assert form.fields == others


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_json_understands_escaped_slashes_and_line_ends_in_base64(size: int) -> None:
    audio = bytes(range(256)) * 3
    escaped = base64.encodebytes(audio).replace(b"/", b"\\/").replace(b"\n", b"\\n")
    assert feed(JsonForm(), b'{"audio":"' + escaped + b'"}', size) == audio


@pytest.mark.parametrize("text", ["UklG=AAA", "Ukl=====", "Ukl-", "Ukl\\u0047", "U", "UklGRg==UklG"])
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_json_refuses_what_is_not_base64(text: str, size: int) -> None:
    with pytest.raises(BadBase64):
        feed(JsonForm(), b'{"audio":"' + text.encode() + b'"}', size)


@settings(deadline=None)
@given(body=st.binary(max_size=400), size=st.integers(1, 50))
def test_no_body_makes_a_parser_fail_in_another_way_than_with_its_errors(  # fine: another error would be raised
    body: bytes, size: int
) -> None:
    for form in (JsonForm(), MultipartForm("multipart/form-data; boundary=XX")):
        for prefix in (b"", b'{"audio":"', b'--XX\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'):
            try:
                feed(form, prefix + body, size)
            except MurmurationError:
                continue


@pytest.mark.parametrize("filler", [b",", b"[", b'"",', b"{},"])
def test_the_room_for_samples_is_no_room_for_millions_of_marks(filler: bytes) -> None:
    form, taken = JsonForm(), 0

    def send() -> None:
        nonlocal taken
        for chunk in [b'{"known_speakers":[', *[filler * 1000] * 4000]:
            list(form.feed(chunk))
            taken += len(chunk)

    with pytest.raises(MalformedRequest):
        send()
    assert taken < 300_000


def test_samples_with_escaped_slashes_have_room() -> None:
    sample = b"data:audio/wav;base64," + b"AAAAAAA\\/" * 100_000
    form = JsonForm()
    assert feed(form, b'{"audio":"","known_speakers":{"Ann":"' + sample + b'"}}', 65_536) == b""
    assert form.fields["known_speakers"] == {"Ann": sample.replace(b"\\", b"").decode()}


def test_samples_in_json_are_refused_at_the_first_byte_too_many() -> None:
    form, taken = JsonForm(), 0

    def send() -> None:
        nonlocal taken
        for chunk in [b'{"known_speakers":{"Ann":"', *[b"A" * (1 << 20)] * (MAX_SAMPLES_BYTES >> 19)]:
            list(form.feed(chunk))
            taken += len(chunk)

    with pytest.raises(MalformedRequest, match="samples of known speakers"):
        send()
    assert MAX_SAMPLES_BYTES - (1 << 20) <= taken <= MAX_SAMPLES_BYTES + 100


def parts(*heads: str, body: bytes = b"words") -> bytes:
    """A form of parts with these headers, each with the same body."""
    written = [b"--XX\r\n%b\r\n\r\n%b\r\n" % (head.encode(), body) for head in heads]
    return b"".join(written) + b"--XX--\r\n"


DISPOSITION = 'Content-Disposition: form-data; name="{}"'


def test_a_part_with_a_type_is_the_file_though_it_has_no_name() -> None:
    form = MultipartForm("multipart/form-data; boundary=XX")
    typed = f"{DISPOSITION.format('file')}\r\nContent-Type: audio/wav"
    assert feed(form, parts(typed, body=AUDIO), 64) == AUDIO


def test_one_part_s_type_says_nothing_of_the_next_part() -> None:
    form = MultipartForm("multipart/form-data; boundary=XX")
    typed = f"{DISPOSITION.format('language')}\r\nContent-Type: text/plain"
    with pytest.raises(MissingFile, match="holds text, not a file"):
        feed(form, parts(typed, DISPOSITION.format("file")), 64)


def test_samples_in_a_form_are_refused_at_the_first_byte_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.uploads.multipart.MAX_SAMPLES_BYTES", 1000)
    heads = [DISPOSITION.format(f"known_speakers[{name}]") + '; filename="a.wav"' for name in ("Anna", "Bob")]
    whole = MultipartForm("multipart/form-data; boundary=XX")
    assert list(whole.feed(parts(*heads, body=bytes(500)))) == []
    form = MultipartForm("multipart/form-data; boundary=XX")
    with pytest.raises(MalformedRequest, match="more than 1000 bytes together"):
        list(form.feed(parts(*heads, body=bytes(501))))


def test_a_data_url_whose_head_never_ends_is_refused_before_its_end() -> None:
    stream = Base64Stream()
    assert stream.feed(b"data:audio/wav;" * 10, last=False) == b""
    with pytest.raises(BadBase64, match="no comma"):
        stream.feed(b"data:audio/wav;" * 10, last=False)


@pytest.mark.parametrize("said", ["\u00b2", "\u0663", "-5", "1e3", "9" * 20, "+1", ""])
def test_a_length_that_is_no_number_of_bytes_is_a_client_s_mistake(said: str) -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        yield b""

    odd = Incoming(client=Principal(), headers={"content-length": said}, query=(), body=body)
    with pytest.raises(MalformedRequest, match="no number of bytes"):
        _ = odd.declared_bytes
