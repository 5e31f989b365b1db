"""What every engine promises (`worker.engines.base.Engine`), asked of each with the demo model."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import pytest

from demo import SAMPLES
from tests.alike import alike
from tests.encoded_once import EncodedOnce, Known
from tests.fast_matrices import lend_mlx_fast_matrices
from tests.ready_model import with_ready_model
from transcription.errors import InvalidOption, Stopped
from transcription.media.audio import RATE, Samples
from transcription.media.codecs.decode import decode
from transcription.options import Decoding, Task
from transcription.settings import Settings
from transcription.spans import Span, windows
from transcription.transcript import Segment
from worker import model_cache
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.batcher import Key
from worker.engines.base import Engine
from worker.engines.faster_whisper import FasterWhisper
from worker.engines.row import LanguageRow, Row
from worker.engines.stages import Stage

SPOKEN = sorted(name for name, sample in SAMPLES.items() if sample.language)
PLAIN = Decoding()
CONTROL = "<|startoftranscript|><|endoftext|><|0.00|><|notimestamps|><|nospeech|><|de|><|translate|>" * 20
WORDS = Decoding(word_timestamps=True)
GREEDY = Decoding(beam_size=1)
PROMPTED = Decoding(prompt="The meeting starts")
MULTILINGUAL = Decoding(multilingual=True)


needs_mlx = pytest.mark.skipif(not (find_spec("mlx") and find_spec("mlx_whisper")), reason="MLX isn't installed")


needs_torch = pytest.mark.skipif(
    not (find_spec("torch") and find_spec("safetensors")), reason="torch isn't installed: extra `torch`"
)


@pytest.fixture(
    scope="module",
    params=[
        "faster_whisper",
        pytest.param("mlx_whisper", marks=needs_mlx),
        pytest.param("torch", marks=needs_torch),
    ],
)
def of_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that choose each engine, with models of their own."""
    if request.param == "mlx_whisper":
        lend_mlx_fast_matrices()
    return Settings.model_validate(
        {
            "data_dir": with_ready_model(tmp_path_factory.mktemp("data")),
            "model": "demo",
            "device": "cpu",
            "worker": {"engine": request.param},
        }
    )


# Without Metal MLX takes seconds for a window, and minutes for these: `make test-mlx` asks them of it too.
MINUTES_WITH_MLX = {
    "test_windows_skipped_by_the_caller_change_nothing_for_the_others",
    "test_cancel_stops_between_windows",
    "test_the_sequential_mode_understands_a_long_recording",
    "test_a_row_decodes_the_same_alone_and_in_any_company",
}
SECONDS_WITH_MLX = {None, "short", "german", "sequential-all"}


@pytest.fixture(autouse=True)
def _in_time(request: pytest.FixtureRequest, of_engine: Settings) -> None:
    if of_engine.worker.engine != "mlx_whisper" or "TEST_MLX_WHOLE" in os.environ:
        return
    asked = request.node.callspec.id.partition("mlx_whisper")[2].lstrip("-") or None
    if request.node.originalname in MINUTES_WITH_MLX or asked not in SECONDS_WITH_MLX:
        pytest.skip("it takes minutes without Metal; `make test-mlx` runs it")


@pytest.fixture(scope="module")
def load(of_engine: Settings) -> Callable[[], Engine]:
    """Loads another engine of a kind; all of them encode a window once, unless the whole of MLX is asked."""
    known: Known = {}

    def loaded() -> Engine:
        engine = model_cache.load("demo", of_engine)
        if of_engine.worker.engine != "torch" and "TEST_MLX_WHOLE" not in os.environ:
            assert isinstance(engine, FasterWhisper)
            executor: Any = engine._batcher._executor
            executor.encoder = EncodedOnce(executor.encoder, known)
        return engine

    return loaded


@pytest.fixture(scope="module")
def engine(load: Callable[[], Engine]) -> Iterator[Engine]:
    loaded = load()
    yield loaded
    loaded.close()


@cache
def samples_of(name: str) -> Samples:
    return decode(SAMPLES[name].path, limit_s=1000)


@cache
def windows_of(name: str) -> tuple[Window, ...]:
    samples = samples_of(name)
    return tuple(Window.collect(group, samples) for group in windows(detect_speech(samples)))


def language_of(name: str) -> str:
    return SAMPLES[name].language or "en"


def wanted() -> bool:
    return False


def transcribe(
    engine: Engine,
    name: str,
    decoding: Decoding = PLAIN,
    *,
    of: Sequence[Window] | None = None,
    owner: str = "owner",
    cancelled: Callable[[], bool] = wanted,
) -> list[list[Segment]]:
    given = windows_of(name) if of is None else of
    return list(engine.transcribe(given, decoding, language=language_of(name), owner=owner, cancelled=cancelled))


class Heard(Protocol):
    def __call__(self, name: str, decoding: Decoding = PLAIN) -> list[list[Segment]]: ...


@pytest.fixture(scope="module")
def heard(engine: Engine) -> Heard:
    """What the engine makes of a sample; several tests look at it, and it's computed once."""
    return cache(partial(transcribe, engine))


def flat(parts: list[list[Segment]]) -> list[Segment]:
    return [segment for part in parts for segment in part]


def text_of(parts: list[list[Segment]]) -> str:
    return "".join(segment.text for segment in flat(parts)).strip()


@pytest.mark.parametrize("name", SPOKEN)
def test_the_transcript_is_what_was_said(heard: Heard, name: str) -> None:
    assert text_of(heard(name)) == SAMPLES[name].transcript


@pytest.mark.parametrize("name", SPOKEN)
def test_each_sentence_is_a_segment_at_its_time(heard: Heard, name: str) -> None:
    segments = flat(heard(name))
    assert [segment.text.strip() for segment in segments] == [said.text for said in SAMPLES[name].segments]
    for segment, said in zip(segments, SAMPLES[name].segments, strict=True):
        assert segment.start == pytest.approx(said.start, abs=0.5)
        assert segment.end == pytest.approx(said.end, abs=0.5)


@pytest.mark.parametrize("name", SPOKEN)
def test_words_make_up_the_text_and_follow_one_another(heard: Heard, name: str) -> None:
    last = 0.0
    segments = flat(heard(name, WORDS))
    for segment in segments:
        assert segment.words
        assert "".join(word.word for word in segment.words) == segment.text
        assert segment.start == segment.words[0].start
        assert segment.end == segment.words[-1].end
        for word in segment.words:
            assert last <= word.start <= word.end <= SAMPLES[name].duration_s + 0.1
            assert 0 <= word.probability <= 1
            last = word.end
    assert text_of([segments]) == SAMPLES[name].transcript


def test_segments_without_words_have_none(heard: Heard) -> None:
    assert all(segment.words is None for segment in flat(heard("short")))


def test_segments_say_how_good_they_are(heard: Heard) -> None:
    segments = flat(heard("short"))
    assert segments
    for segment in segments:
        assert segment.temperature == 0
        assert -1 < segment.avg_logprob < 0
        assert 0 < segment.compression_ratio < 2.4
        assert 0 <= segment.no_speech_prob < 0.6
        assert segment.tokens
        assert not segment.low_confidence


def test_silence_says_nothing(engine: Engine) -> None:
    samples = samples_of("silence")
    whole = Window.collect([Span(0, samples.size / RATE)], samples)
    assert transcribe(engine, "silence", of=[whole]) == [[]]
    assert transcribe(engine, "silence", of=[]) == []


@pytest.mark.parametrize("seconds", [0.1, 0.02, 1.0])
def test_a_moment_of_sound_breaks_nothing(engine: Engine, seconds: float) -> None:
    moment = Window.collect([Span(1.0, 1.0 + seconds)], samples_of("short"))
    (segments,) = transcribe(engine, "short", WORDS, of=[moment])
    assert all(1.0 <= segment.start < segment.end <= 1.0 + seconds for segment in segments)


@pytest.mark.parametrize("name", SPOKEN)
def test_the_language_is_found(engine: Engine, name: str) -> None:
    language, probability = engine.detect_language(windows_of(name)[0].samples)
    assert language == SAMPLES[name].language
    assert 0.5 < probability <= 1


def test_language_is_detected_among_those_that_may_be_spoken_alone(engine: Engine) -> None:
    samples = windows_of("short")[0].samples
    assert engine.detect_language(samples, languages=("de",)) == ("de", 1.0)
    assert engine.detect_language(samples, languages=("de", "en"))[0] == "en"
    with pytest.raises(InvalidOption, match="languages"):
        engine.detect_language(samples, languages=("none",))


def spliced() -> tuple[Window, ...]:
    return windows_of("short") + windows_of("german") + windows_of("short")


@pytest.fixture(scope="module")
def in_their_languages(engine: Engine) -> tuple[list[str], list[list[Segment]]]:
    """The languages that were told of the spliced windows, and what was heard in each."""
    told: list[str] = []
    parts = engine.transcribe(spliced(), MULTILINGUAL, language="en", owner="owner", cancelled=wanted, told=told.append)
    return told, list(parts)


def test_every_window_is_written_in_its_own_language(
    in_their_languages: tuple[list[str], list[list[Segment]]],
) -> None:
    told, parts = in_their_languages
    assert told == ["en", "de", "en"]
    assert [{segment.language for segment in part} for part in parts] == [{"en"}, {"de"}, {"en"}]
    texts = [SAMPLES[name].transcript for name in ("short", "german", "short")]
    assert [text_of([part]) for part in parts] == texts


def test_window_that_is_taken_up_again_has_the_language_that_it_would_have_had(
    engine: Engine, in_their_languages: tuple[list[str], list[list[Segment]]]
) -> None:
    rest = engine.transcribe(spliced()[1:], MULTILINGUAL, language="en", owner="owner", cancelled=wanted)
    assert list(rest) == alike(in_their_languages[1][1:])


def test_multilingual_text_in_one_language_is_what_it_is_without(engine: Engine, heard: Heard) -> None:
    plain = [[replace(segment, language="en") for segment in part] for part in heard("short")]
    assert heard("short", MULTILINGUAL) == alike(plain)


def test_language_changes_with_the_text_before_it_as_well(engine: Engine) -> None:
    decoding = MULTILINGUAL.model_copy(update={"condition_on_previous_text": True, "beam_size": 1})
    parts = transcribe(engine, "short", decoding, of=spliced()[:2])
    assert [{segment.language for segment in part} for part in parts] == [{"en"}, {"de"}]
    assert errors(text_of(parts[1:]), SAMPLES["german"].transcript) <= 3


def test_windows_of_several_languages_share_a_batch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(engine, FasterWhisper)
    executor, batches = engine._batcher._executor, []
    compute = executor.compute

    def noted(key: Key, rows: Sequence[Row | LanguageRow]) -> Sequence[Key | None]:
        if key.stage == Stage.DECODE:
            batches.append({row.language for row in rows if isinstance(row, Row)})
        return compute(key, rows)

    monkeypatch.setattr(executor, "compute", noted)
    monkeypatch.setattr(executor, "splits", False)
    both = Decoding(multilingual=True, beam_size=1)
    together = engine._batcher._limit(Stage.DECODE) > 1
    parts = transcribe(engine, "short", both, of=spliced() * 2 if together else spliced()[:2])
    assert [text_of([part]) for part in parts[:2]] == [SAMPLES[name].transcript for name in ("short", "german")]
    if together:
        assert {"en", "de"} in batches
    else:
        assert {"en"} in batches
        assert {"de"} in batches


def test_asking_for_the_language_changes_nothing_in_the_transcript(engine: Engine, heard: Heard) -> None:
    before = heard("short", WORDS)
    engine.detect_language(windows_of("short")[0].samples)
    assert transcribe(engine, "short", WORDS) == alike(before)


def test_windows_skipped_by_the_caller_change_nothing_for_the_others(engine: Engine, heard: Heard) -> None:
    whole = heard("long", WORDS)
    assert transcribe(engine, "long", WORDS, of=windows_of("long")[1:]) == alike(whole[1:])


def test_windows_are_taken_a_few_ahead_and_no_more(engine: Engine) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Window]:
        for number in range(1000):
            taken.append(number)
            yield windows_of("short")[0]

    results = engine.transcribe(endless(), GREEDY, language="en", owner="endless", cancelled=wanted)
    assert next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 100


def test_cancel_stops_between_windows(engine: Engine) -> None:
    flag = threading.Event()
    results = engine.transcribe(
        iter(windows_of("short") * 30), GREEDY, language="en", owner="unwanted", cancelled=flag.is_set
    )
    assert next(results)
    flag.set()
    with pytest.raises(Stopped):
        list(results)
    assert text_of(transcribe(engine, "short")) == SAMPLES["short"].transcript


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(prompt="The green train leaves on Monday."),
        Decoding(hotwords="Victor Uniform"),
        Decoding(prompt="The green train leaves on Monday. " * 100, hotwords="Victor Uniform " * 250),
        Decoding(beam_size=1),
        Decoding(beam_size=10),
        Decoding(temperature=0.2),
        Decoding(condition_on_previous_text=True),
        Decoding(condition_on_previous_text=True, word_timestamps=True, prompt="Welcome Anna.", hotwords="camera"),
    ],
    ids=["prompt", "hotwords", "long-prompts", "greedy", "wide", "warm", "sequential", "sequential-all"],
)
def test_options_leave_a_clear_recording_understood(engine: Engine, decoding: Decoding) -> None:
    assert errors(text_of(transcribe(engine, "short", decoding)), SAMPLES["short"].transcript) <= 3


def test_control_tokens_in_a_prompt_are_text_and_cost_no_more_than_other_text(engine: Engine) -> None:
    assert isinstance(engine, FasterWhisper)
    tokenizer = engine._tokenizer(Task.TRANSCRIBE, "en")
    for text in (CONTROL, "<<|0.00|>>", "a<|en|>b <|"):
        ids = tokenizer.encode(text)
        assert max(ids) < tokenizer.eot
        assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")
    before = engine.steps
    transcribe(engine, "short", Decoding(prompt=CONTROL[:1400], beam_size=1))
    costly, before = engine.steps - before, engine.steps
    transcribe(engine, "short", Decoding(prompt="The green train leaves on Monday. " * 40, beam_size=1))
    assert costly <= 3 * (engine.steps - before) + 10


def test_the_sequential_mode_understands_a_long_recording(engine: Engine) -> None:
    parts = transcribe(engine, "long", Decoding(condition_on_previous_text=True, word_timestamps=True))
    assert len(parts) == len(windows_of("long"))
    assert errors(text_of(parts), SAMPLES["long"].transcript) <= 10


def test_translation_runs(engine: Engine) -> None:
    # The demo model was never taught to translate; the real ones take the same way.
    parts = transcribe(engine, "german", Decoding(task=Task.TRANSLATE, word_timestamps=True))
    starts = [segment.start for segment in flat(parts)]
    assert starts == sorted(starts)


def test_noise_gives_doubtful_segments_or_none(engine: Engine) -> None:
    noise = np.random.default_rng(3).standard_normal(6 * RATE).astype(np.float32) * 0.3
    (segments,) = transcribe(engine, "short", of=[Window.collect([Span(0, 6)], noise)])
    for segment in segments:  # fine: none is as good an answer
        good = segment.avg_logprob >= -1 and segment.compression_ratio <= 2.4
        assert segment.low_confidence is not good


@pytest.fixture(scope="module")
def alone(engine: Engine, heard: Heard) -> Heard:
    """What the engine makes of each window of a sample by itself."""

    @cache
    def of(name: str, decoding: Decoding = PLAIN) -> list[list[Segment]]:
        if len(windows_of(name)) == 1:
            return heard(name, decoding)
        return [transcribe(engine, name, decoding, of=[window])[0] for window in windows_of(name)]

    return of


@pytest.mark.parametrize(
    "mix",
    [
        [("short", PLAIN), ("german", PLAIN), ("mp3", PLAIN), ("short", PLAIN), ("video", WORDS), ("mp3", PROMPTED)],
        [("long", GREEDY), ("short", WORDS), ("german", WORDS), ("short", GREEDY), ("german", PROMPTED)],
    ],
    ids=["alike", "of-all-kinds"],
)
def test_a_row_decodes_the_same_alone_and_in_any_company(
    engine: Engine, alone: Heard, mix: list[tuple[str, Decoding]]
) -> None:
    expected = [alike(alone(name, decoding)) for name, decoding in mix]
    with ThreadPoolExecutor(len(mix)) as pool:
        together = [pool.submit(transcribe, engine, *asked, owner=str(n)) for n, asked in enumerate(mix)]
        assert [one.result() for one in together] == expected


def test_steps_grow_with_the_work(engine: Engine) -> None:
    before = engine.steps
    engine.detect_language(windows_of("short")[0].samples)
    assert engine.steps > before


def test_a_closed_engine_says_that_it_stopped(load: Callable[[], Engine]) -> None:
    loaded = load()
    heard = windows_of("short") * 12
    results = loaded.transcribe(heard, GREEDY, language="en", owner="o", cancelled=wanted)
    assert next(results)
    loaded.close()
    with pytest.raises(Stopped):
        list(results)


def errors(heard: str, said: str) -> int:
    """Words to insert, delete or replace."""
    left, right = heard.split(), said.split()
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
