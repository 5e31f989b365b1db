"""Every kind of recording that people have: what comes out, where it stands, and what is said of the rest."""

import os
import random
import struct
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest

from tests import sound
from tests.ready_model import with_ready_model
from tests.recordings import corpus, hostile, measure
from tests.recordings.measure import codes, same
from tests.recordings.table import KINDS, cells
from transcription.errors import InvalidAudio, InvalidOption, TooLong
from transcription.media.audio import FULL_SCALE, RATE
from transcription.media.codecs.probe import probe
from transcription.media.decoder import Decoder
from transcription.media.recording import Recording
from transcription.media.scratch import Scratch
from transcription.media.timeline import Hole, Holes
from transcription.options import Decoding
from transcription.result_warning import MEANINGS, WarningCode
from transcription.settings import Settings
from transcription.spans import Span, windows
from worker import model_cache
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.engines.base import Engine

PAGE = cells()
UNHEARD = {"AMR"}
"""The demo model understands no telephone: there only loudness is compared."""

HEARD = {"hole": 0.45, "cut": 0.25, "channels": 0.85}
"""Share of the sample's words that must be there, where not all of them can be."""

MOVING = ("hole", "cut", "plain", "channels", "length", "tracks", "glued", "gap", "late")
HOUR = 3600


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", corpus.FORMS)
def test_what_comes_out_is_what_the_page_says(name: str, kind: str) -> None:
    assert measure.cell(name, kind) == PAGE[name, kind]


def test_the_page_names_every_warning_with_its_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recordings.md").read_text(encoding="utf-8")
    for code in WarningCode:
        assert f"| `{code.value}` | {MEANINGS[code]} |" in page


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data_dir = with_ready_model(tmp_path_factory.mktemp("data"))
    loaded = model_cache.load("demo", Settings(data_dir=data_dir, model="demo"))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def plain(engine: Engine) -> list[tuple[str, float]]:
    return words(engine, measure.recorded(corpus.made("WAV", "plain")))


def words(engine: Engine, recording: Recording) -> list[tuple[str, float]]:
    speech = recording.holes.placed(detect_speech(recording))
    parts = engine.transcribe(
        [Window.joined(group, recording.cut) for group in windows(speech)],
        Decoding(word_timestamps=True, beam_size=1), language="en", owner="o", cancelled=lambda: False,
    )  # fmt: skip
    return [(word.word, word.start) for part in parts for segment in part for word in segment.words or ()]


EVERY = [(name, kind) for name in corpus.FORMS for kind in corpus.kinds(name) if name not in UNHEARD]
# `make recordings` compares the words of all of them; here each form has one that moves them, or glues them.
SOME = [(name, max(corpus.kinds(name), key=MOVING.index)) for name in corpus.FORMS if name not in UNHEARD]


@pytest.mark.parametrize(("name", "kind"), EVERY if "TEST_RECORDINGS_WHOLE" in os.environ else SOME)
def test_words_and_their_times_are_the_plain_file_s_and_fit_the_film(
    engine: Engine, plain: list[tuple[str, float]], name: str, kind: str
) -> None:
    if PAGE[name, kind].startswith("refused"):
        pytest.skip(PAGE[name, kind])
    place, made = corpus.place(kind), corpus.variants(name, kind)
    assert made
    for content, asked in made:
        found = words(engine, measure.recorded(content, **asked))
        pairs = SequenceMatcher(None, [word for word, _ in plain], [word for word, _ in found], autojunk=False)
        blocks = pairs.get_matching_blocks()
        moved = [found[b + n][1] - place(plain[a + n][1]) for a, b, count in blocks for n in range(count)]
        assert len(moved) >= HEARD.get(kind, 1.0) * len(plain)
        assert max(map(abs, moved)) < 0.6


def test_an_hour_of_silence_in_the_stamps_takes_no_memory(tmp_path: Path) -> None:
    recording = measure.recorded(
        corpus.written(corpus.FORMS["Matroska, AAC"], [corpus.speech()], gap=(corpus.GAP_AT_S, HOUR))
    )
    assert recording.duration_s == pytest.approx(HOUR + 11, abs=1)
    assert recording.held_s < 15
    assert measure.share(recording, lambda t: t if t < corpus.GAP_AT_S else t + HOUR) > measure.MOST
    with Scratch(tmp_path).draft("a", waiting=lambda: None) as draft:
        draft.file.write((recording[:] * FULL_SCALE).astype("<i2").tobytes())
        draft.keep(Recording(draft.file, size=recording.size, holes=recording.holes))
    assert (tmp_path / "a.pcm").stat().st_size < 15 * 2 * RATE
    late = Span(HOUR + 7.0, HOUR + 9.0)
    assert np.array_equal(Scratch(tmp_path).found("a").cut(late), recording.cut(late))


def test_pauses_of_two_files_in_one_add_up() -> None:
    paused = corpus.written(corpus.FORMS["Matroska, AAC"], [corpus.speech()], gap=(corpus.GAP_AT_S, 600))
    assert measure.recorded(paused * 2).duration_s == pytest.approx(2 * (600 + 11), abs=1)


def test_held_samples_and_the_recording_s_time_lead_to_each_other() -> None:
    holes = Holes([Hole(100, 1000), Hole(300, 50)])
    for held in (0, 99, 100, 101, 299, 300, 5000):
        assert holes.held_at(holes.time_of(held)) == held
    assert holes.held_at(100) == holes.held_at(1099) == 100
    stretch = Span(50 / RATE, 400 / RATE)
    placed = [(round(s.start * RATE), round(s.end * RATE)) for s in holes.placed([stretch])]
    assert placed == [(50, 100), (1100, 1300), (1350, 1450)]


def film(languages: list[str]) -> bytes:
    """Speech in the second of as many tracks as there are languages."""
    tracks = [corpus.speech() if number == 1 else 0 * corpus.speech() for number in range(len(languages))]
    return corpus.written(corpus.FORMS["Matroska, AAC"], tracks, languages=languages)


def test_the_asked_track_is_taken_and_the_others_are_named() -> None:
    content = film(["ger", "eng", "fre"])
    for asked in ({"track": "2"}, {"track": "en"}, {"track": "eng"}, {"language": "en"}):
        recording = measure.recorded(content, **asked)
        assert [track.number for track in recording.tracks if track.taken] == [2], asked
        assert codes(recording) == (set() if "track" in asked else {"other_tracks"})
        assert measure.share(recording, same) > measure.MOST
    assert [track.language for track in measure.recorded(content).tracks] == ["de", "en", "fr"]
    for wrong in ("4", "es"):
        with pytest.raises(InvalidOption, match=r"audio_track.*1 de, 2 en, 3 fr"):
            measure.recorded(content, track=wrong)


def test_other_tracks_are_told_once_of_a_file_that_goes_on_in_a_second_one() -> None:
    recording = measure.recorded(film(["ger", "eng"]) * 2)
    assert recording.duration_s == pytest.approx(22, abs=0.3)
    assert [(warning.code.value, warning.count) for warning in recording.warnings] == [("other_tracks", 1)]


def test_a_claimed_length_is_a_claim(tmp_path: Path) -> None:
    path = tmp_path / "a"
    webm = corpus.made("WebM, Opus", "plain")
    where = webm.find(b"\x44\x89\x88") + 3
    for claim_ms in (50.0, 50_000_000.0):
        path.write_bytes(webm[:where] + struct.pack(">d", claim_ms) + webm[where + 8 :])
        assert probe(path, max_duration_s=HOUR).duration_s == pytest.approx(11, abs=1)
    path.write_bytes(corpus.written(corpus.FORMS["WebM, Opus"], [corpus.speech()], start_s=50_000))
    assert probe(path, max_duration_s=HOUR).duration_s == pytest.approx(11, abs=1)
    assert measure.recorded(path.read_bytes()).duration_s == pytest.approx(11, abs=0.5)
    with pytest.raises(TooLong):
        probe(path, max_duration_s=5)


def test_a_header_that_stops_short_of_the_sound_is_overruled_and_other_data_is_told() -> None:
    wav = bytearray(corpus.made("WAV", "plain"))
    at = wav.index(b"data") + 4
    wav[at : at + 4] = struct.pack("<I", 2 * RATE)
    assert measure.recorded(bytes(wav)).duration_s == pytest.approx(11, abs=0.1)
    junk = random.Random(1).randbytes(20_000)
    recording = measure.recorded(corpus.made("WAV", "plain") + junk)
    assert recording.duration_s == pytest.approx(11, abs=0.1)
    assert [(w.code.value, w.bytes) for w in recording.warnings] == [("trailing_data", 20_000)]


@pytest.mark.parametrize(
    "content",
    [
        lambda: hostile.matroska(1, [n * 3_600_000 for n in range(5000)]),
        lambda: hostile.matroska(1, [n * 7919 % 1000 * 100_000 for n in range(5000)]),
        lambda: hostile.matroska(10_000, [0, 100]),
        lambda: corpus.written(corpus.FORMS["Ogg, Opus"], [corpus.speech()[:800]]) * 3000,
        lambda: corpus.written(corpus.FORMS["MP4, AAC"], [corpus.speech()[:1600]]) * 2000,
        lambda: (b"RIFF" + bytes(4) + b"WAVEfmt ") * 5000,
    ],
    ids=["years of gaps", "jumps", "10,000 tracks", "3,000 links", "2,000 files", "5,000 headers"],
)
def test_a_hostile_file_makes_no_more_work_than_another(content: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(content())
    decoder = Decoder(Settings(data_dir=tmp_path))
    try:
        found = decoder.decode(path, sound.empty())
    except InvalidAudio:
        return  # a refusal will do too
    finally:
        decoder.close()
    assert len(found.warnings) <= 8 * len(WarningCode)
    assert len(found.tracks) <= 32
    assert found.held_s < 3000
    assert found.duration_s < 13 * HOUR
