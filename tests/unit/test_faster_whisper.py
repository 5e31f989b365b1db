"""What faster-whisper's engine asks of its model, by an executor that writes down the rows it gets."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers

from demo.tokenizer import tokenizer_json
from demo.weights import read_weights
from transcription.errors import EngineFailed, InvalidOption, ModelUnavailable, Stopped
from transcription.options import Decoding
from transcription.settings import Settings, Worker
from transcription.spans import Span
from transcription.transcript import Segment
from worker.audio.windows import Window
from worker.batcher import Key
from worker.engines import faster_whisper as module
from worker.engines.cpu_layout import CpuLayout
from worker.engines.faster_whisper import FORCED_INSTRUCTIONS, FasterWhisper, describe, load
from worker.engines.row import LanguageRow, Row

SAID = [7, 8, 9]


class Scripted:
    """Finishes each row at once: it tells the languages of the script, one a window, and writes `SAID`."""

    encoder = SimpleNamespace(label="scripted")
    any_length = False
    splits = False

    def __init__(self) -> None:
        self.how: dict[str, Any] = {}
        self.languages: list[dict[str, float]] = []
        self.asked: list[LanguageRow] = []
        self.written: list[tuple[Row, list[int]]] = []
        """With the text before each."""

    def limit(self, stage: int) -> int:
        return 1

    def compute(self, key: Key, rows: Any) -> list[None]:
        for row in rows:
            if isinstance(row, LanguageRow):
                self.asked.append(row)
                row.found = self.languages.pop(0)
                row.encoding = np.full((1, 2, 2), len(self.asked), np.float32)
            else:
                self.written.append((row, row.context.tokens()))
                row.context.add(SAID)
                row.segments = [Segment(start=0.0, end=1.0, text=" so")]
        return [None for _ in rows]


Made = Callable[..., tuple[FasterWhisper, Scripted]]


@pytest.fixture(scope="module")
def words() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(read_weights().tokens)))


@pytest.fixture
def made(words: tokenizers.Tokenizer) -> Iterator[Made]:
    engines: list[FasterWhisper] = []
    unloaded: list[int] = []

    def make(*, multilingual: bool = True, device: str = "cpu", batch: int = 1) -> tuple[FasterWhisper, Scripted]:
        model = SimpleNamespace(
            device=device, compute_type="float32", is_multilingual=multilingual, unload_model=lambda: unloaded.append(1)
        )
        features = np.zeros((80, 101), np.float32)
        whisper: Any = SimpleNamespace(model=model, hf_tokenizer=words, feature_extractor=lambda _: features)
        scripted = Scripted()

        def stages(_: Any, **how: Any) -> Any:
            scripted.how = how
            return scripted

        engines.append(FasterWhisper("m", whisper, CpuLayout(1, 1, batch), stages=stages))
        return engines[-1], scripted

    yield make
    for engine in engines:
        engine.close()
    assert len(unloaded) == len(engines) > 0


def windows(*levels: float) -> list[Window]:
    """Windows of a second, one after another."""
    return [Window((Span(float(at), at + 1.0),), np.full(16_000, level, np.float32)) for at, level in enumerate(levels)]


def write(engine: FasterWhisper, given: list[Window], **asked: Any) -> tuple[list[Segment], list[str]]:
    told: list[str] = []
    language = asked.pop("language", "en")
    parts = engine.transcribe(
        given, Decoding(**asked), language=language, owner="o", cancelled=lambda: False, told=told.append
    )
    return [segment for part in parts for segment in part], told


def test_a_model_of_english_is_never_asked_for_a_language(made: Made) -> None:
    engine, scripted = made(multilingual=False)
    assert engine.detect_language(np.zeros(16_000, np.float32)) == ("en", 1.0)
    segments, told = write(engine, windows(0.1, 0.2), multilingual=True)
    assert (len(segments), told, scripted.asked) == (2, [], [])


def test_a_model_of_english_refuses_what_it_cannot_do(made: Made) -> None:
    engine, scripted = made(multilingual=False)
    silence = np.zeros(16_000, np.float32)
    assert engine.detect_language(silence, languages=("de", "en")) == ("en", 1.0)
    with pytest.raises(InvalidOption, match="languages: de, fr: model 'm' transcribes English"):
        engine.detect_language(silence, languages=("de", "fr"))
    with pytest.raises(InvalidOption, match="language: de"):
        write(engine, windows(0.1), language="de")
    with pytest.raises(InvalidOption, match="task: translate"):
        write(engine, windows(0.1), task="translate")
    assert scripted.written == []


def test_the_words_of_a_translation_are_english_whatever_is_spoken(made: Made) -> None:
    engine, scripted = made()
    write(engine, windows(0.1), task="translate", language="ja")
    write(engine, windows(0.1), task="transcribe", language="ja")
    written = [row.tokenizer for row, _ in scripted.written]
    split = [one.split_to_word_tokens([*one.encode(" Satomi paid 3.5"), one.eot])[0] for one in written]
    assert split[0] == [" Satomi", " paid", " 3", ".5", ""]
    assert len(split[1]) > len(split[0])


def test_a_search_for_the_language_ends_when_nobody_waits_for_it_any_more(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, scripted = made()
    monkeypatch.setattr(engine, "_submit", lambda *_, **__: Future())
    with pytest.raises(Stopped):
        engine.detect_language(np.zeros(16_000, np.float32), cancelled=lambda: True)
    assert scripted.asked == []


@pytest.mark.parametrize("grows", [True, False])
def test_a_window_sees_the_text_before_it_where_that_is_asked_for(made: Made, *, grows: bool) -> None:
    engine, scripted = made()
    write(engine, windows(0.1, 0.2, 0.3), condition_on_previous_text=grows)
    assert [before for _, before in scripted.written] == [[], SAID * grows, SAID * 2 * grows]


def test_each_window_is_written_in_its_language_with_the_encoding_that_told_it_and_text_of_that_language_before_it(
    made: Made,
) -> None:
    engine, scripted = made()
    scripted.languages = [
        {"de": 0.9, "en": 0.1},
        {"de": 0.8, "en": 0.2},
        {"en": 0.95, "de": 0.05},
        {"fr": 0.9, "en": 0.1},
    ]
    given = windows(0.1, 0.2, 0.3, 0.4)
    segments, told = write(
        engine, given, multilingual=True, condition_on_previous_text=True, languages=("de", "en"), language="en"
    )
    assert told == [segment.language for segment in segments] == ["de", "de", "en", "en"]
    assert [segment.start for segment in segments] == [0.0, 1.0, 2.0, 3.0]
    assert [before for _, before in scripted.written] == [[], SAID, [], SAID]
    rows = [row for row, _ in scripted.written]
    assert [row.tokenizer.language_code for row in rows] == told
    assert [row.encoding[0, 0, 0] for row in rows if row.encoding is not None] == [1, 2, 3, 4]
    assert all(row.handed_on for row in scripted.asked)
    assert len({row.digest for row in rows}) == len(given)


def test_a_model_that_tells_no_language_failed(made: Made) -> None:
    engine, scripted = made()
    scripted.languages = [{}]
    with pytest.raises(EngineFailed, match="told no language"):
        engine.detect_language(np.zeros(16_000, np.float32))


def test_windows_that_differ_late_are_not_one(made: Made) -> None:
    engine, scripted = made()
    first, second = windows(0.1, 0.1)
    second.samples[-1] = 0.5
    write(engine, [first, second, first])
    digests = [row.digest for row, _ in scripted.written]
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


@pytest.mark.parametrize(("device", "encoded"), [("cpu", 1), ("cuda", 8)])
def test_a_cpu_encodes_one_window_after_another_and_a_card_a_batch(made: Made, device: str, encoded: int) -> None:
    _, scripted = made(device=device, batch=8)
    assert (scripted.how["encode_batch"], scripted.how["decode_batch"]) == (encoded, 8)


def test_no_more_windows_are_prepared_than_a_batch_and_one(made: Made) -> None:
    engine, _ = made(batch=3)
    taken: list[int] = []

    def given() -> Iterator[Window]:
        for number, window in enumerate(windows(*[0.1] * 50)):
            taken.append(number)
            yield window

    next(engine.transcribe(given(), Decoding(), language="en", owner="o", cancelled=lambda: False))
    assert len(taken) == 4


def test_a_layout_is_described_with_the_instructions_that_a_cpu_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "AVX2")
    assert describe(CpuLayout(2, 3, None), "cpu") == "2 × 3 model threads, batches of what fits, AVX2"
    assert describe(CpuLayout(1, 1, 8), "cuda") == "1 × 1 model threads, batches of 8"


class Loaded:
    """What stands in for the libraries while a model is loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, words: tokenizers.Tokenizer) -> None:
        self.asked: dict[str, Any] = {}
        self.error: Exception | None = None
        self.mels = 80
        self._words = words
        chosen = SimpleNamespace(directory="chosen", encoder=SimpleNamespace(label="fast"), reason="it is quicker")
        monkeypatch.setattr(module, "select", lambda *_, **__: chosen)
        monkeypatch.setattr(module, "WhisperModel", self._whisper)
        monkeypatch.setattr(module, "ModelBin", lambda _: pytest.fail("its memory isn't asked for"))

    def _whisper(self, directory: str, **asked: Any) -> Any:
        self.asked = {"directory": directory, **asked}
        if self.error:
            raise self.error
        filters = SimpleNamespace(mel_filters=np.zeros((80, 201)))
        model = SimpleNamespace(device=asked["device"], compute_type=asked["compute_type"], n_mels=self.mels)
        model.unload_model = lambda: None
        return SimpleNamespace(model=model, hf_tokenizer=self._words, feature_extractor=filters)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, words: tokenizers.Tokenizer) -> Loaded:
    monkeypatch.setenv(FORCED_INSTRUCTIONS, "SSE")
    monkeypatch.setattr(module, "instruction_set", lambda: "AVX512")
    return Loaded(monkeypatch, words)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("model.bin", "tokenizer.json"):
        (tmp_path / name).touch()
    return tmp_path


CPU = Settings(model="m", device="cpu", worker=Worker(model_workers=2, batch=4))


def test_a_model_is_loaded_from_here_with_a_replica_more_for_light_rows_and_the_encoder_that_was_chosen(
    loaded: Loaded, directory: Path
) -> None:
    engine = load("m", directory, CPU)
    engine.close()
    assert (loaded.asked["directory"], loaded.asked["local_files_only"], loaded.asked["num_workers"]) == (
        "chosen", True, 3,
    )  # fmt: skip
    assert engine.encoder == "fast (it is quicker)"
    assert os.environ[FORCED_INSTRUCTIONS] == "SSE"  # the operator's


def test_a_model_of_other_mels_has_its_features_without_a_file_that_says_so(loaded: Loaded, directory: Path) -> None:
    loaded.mels = 128
    engine = load("m", directory, CPU)
    engine.close()
    assert engine._whisper.feature_extractor.mel_filters.shape[0] == 128


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("a type"), OSError("a disk")])
def test_a_model_that_cannot_be_loaded_is_unavailable(loaded: Loaded, directory: Path, error: Exception) -> None:
    loaded.error = error
    with pytest.raises(ModelUnavailable, match="'m'"):
        load("m", directory, CPU)


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json"])
def test_a_directory_that_lacks_a_file_is_no_model(loaded: Loaded, directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(ModelUnavailable, match=f"it has no {name}"):
        load("m", directory, CPU)
    assert loaded.asked == {}
