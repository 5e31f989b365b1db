"""The batched path gives what faster-whisper's own sequential path gives."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel
from faster_whisper.transcribe import get_ctranslate2_storage

from demo import SAMPLES
from tests.alike import alike
from tests.encoded_once import EncodedOnce
from transcription.errors import EngineFailed, ModelUnavailable
from transcription.media.audio import RATE, Samples
from transcription.media.codecs.decode import decode
from transcription.options import Decoding, Segmentation
from transcription.settings import Settings
from transcription.spans import Span
from transcription.transcript import Segment
from worker import model_cache
from worker.audio.windows import Window
from worker.batcher import Key
from worker.engines import faster_whisper, passes, row, stages
from worker.engines.cpu_layout import CpuLayout
from worker.engines.row import Attempt, best
from worker.engines.stages import Stages


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    directory = model_cache.locate("demo", Settings(data_dir=tmp_path_factory.mktemp("data")))
    made = WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=1, num_workers=2)
    made.model = EncodedOnce(made.model)
    return made


@pytest.fixture
def engine(whisper: WhisperModel) -> Iterator[faster_whisper.FasterWhisper]:
    made = faster_whisper.FasterWhisper("demo", whisper, CpuLayout(2, 1, 4))
    yield made
    made._batcher.close()


def heard_by(
    engine: faster_whisper.FasterWhisper, samples: Samples, decoding: Decoding, language: str
) -> list[Segment]:
    window = Window.collect([Span(0, samples.size / RATE)], samples)
    (segments,) = engine.transcribe([window], decoding, language=language, owner="o", cancelled=lambda: False)
    return segments


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "words": {"word_timestamps": True},
    "greedy": {"beam_size": 1, "word_timestamps": True},
    "hotwords": {"hotwords": "camera garden", "word_timestamps": True},
    "prompt": {"prompt": "The horse is near the river."},
    "conditioned": {"condition_on_previous_text": True, "word_timestamps": True},
}


@pytest.mark.parametrize(
    ("name", "asked"),
    [*((name, asked) for name in ("short", "german") for asked in OPTIONS), ("mp3", "words"), ("video", "words")],
)
def test_a_window_is_heard_as_by_faster_whisper(
    whisper: WhisperModel, engine: faster_whisper.FasterWhisper, name: str, asked: str
) -> None:
    options = OPTIONS[asked]
    samples = decode(SAMPLES[name].path, limit_s=30)
    language = SAMPLES[name].language or "en"
    segments = heard_by(engine, samples, Decoding(**options), language)
    alike = {"beam_size": 5, "condition_on_previous_text": False, **options}
    alike["initial_prompt"] = alike.pop("prompt", None)
    theirs = list(whisper.transcribe(samples, language=language, vad_filter=False, **alike)[0])
    assert [s.text for s in segments] == [s.text for s in theirs]
    for ours, reference in zip(segments, theirs, strict=True):
        assert list(ours.tokens) == reference.tokens
        # With words, segments begin and end with them, as after faster-whisper's own VAD filter.
        bounds = (reference.words[0].start, reference.words[-1].end) if ours.words else (reference.start, reference.end)
        assert (ours.start, ours.end) == pytest.approx(bounds, abs=0.002)
        assert ours.avg_logprob == pytest.approx(reference.avg_logprob, abs=1e-4)
        assert ours.compression_ratio == reference.compression_ratio
        assert ours.no_speech_prob == pytest.approx(reference.no_speech_prob, abs=1e-4)
        if ours.words is not None:
            assert [w.word for w in ours.words] == [w.word for w in reference.words]
            for word, like in zip(ours.words, reference.words, strict=True):
                assert (word.start, word.end) == pytest.approx((like.start, like.end), abs=0.002)
                assert word.probability == pytest.approx(like.probability, abs=1e-3)


def test_the_language_is_that_of_faster_whisper(whisper: WhisperModel, engine: faster_whisper.FasterWhisper) -> None:
    samples = decode(SAMPLES["german"].path, limit_s=30)
    language, probability, _ = whisper.detect_language(samples)
    found, believed = engine.detect_language(samples)
    assert found == language
    assert believed == pytest.approx(probability, abs=0.01)


def test_the_encoding_that_told_the_language_is_used_again(
    engine: faster_whisper.FasterWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked: list[int] = []

    def counted(features: Any) -> Any:
        stacked.append(features.shape[-1])
        return get_ctranslate2_storage(features)

    encoder = engine._batcher._executor.encoder  # type: ignore[attr-defined]
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda features: (stacked.append(features.shape[-1]), encode(features))[1])
    monkeypatch.setattr(stages, "get_ctranslate2_storage", counted)
    samples = decode(SAMPLES["short"].path, limit_s=30)
    engine.detect_language(samples)
    assert heard_by(engine, samples, Decoding(), "en")
    width = 128
    assert stacked[:3] == [row.FRAMES, width, width], "encoded, language told, decoded"


def test_poor_quality_goes_up_the_temperatures_and_the_best_is_kept(
    engine: faster_whisper.FasterWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row, "LOGPROB_LIMIT", -0.001)
    tried: list[float] = []
    judge = Stages._decode

    def noting(self: Stages, rows: Sequence[row.Row]) -> list[Key | None]:
        tried.append(rows[0].temperature)
        return judge(self, rows)

    monkeypatch.setattr(Stages, "_decode", noting)
    samples = decode(SAMPLES["short"].path, limit_s=30)[: round(SAMPLES["short"].segments[0].end * RATE)]
    segments = heard_by(engine, samples, Decoding(), "en")
    assert tried == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert segments
    assert all(segment.low_confidence for segment in segments)
    tried.clear()
    heard_by(engine, samples, Decoding(temperature=0.4), "en")
    assert tried == [0.4]


def test_sampling_draws_five_times_and_beams_do_not(engine: faster_whisper.FasterWhisper) -> None:
    calls: list[dict[str, Any]] = []
    model = engine._whisper.model

    def generate(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs)
        return model.generate(*args, **kwargs)

    counting = SimpleNamespace(
        generate=generate, encode=model.encode, device="cpu", is_multilingual=True, align=model.align
    )
    engine._batcher._executor._whisper = _with_model(engine._whisper, counting)  # type: ignore[attr-defined]
    samples = decode(SAMPLES["short"].path, limit_s=30)
    heard_by(engine, samples, Decoding(temperature=0.6), "en")
    heard_by(engine, samples, Decoding(beam_size=3), "en")
    warm, cold = calls
    assert (warm["beam_size"], warm["num_hypotheses"], warm["sampling_topk"]) == (1, 5, 0)
    assert warm["sampling_temperature"] == 0.6
    assert cold["beam_size"] == 3
    assert "sampling_temperature" not in cold


def _with_model(whisper: WhisperModel, model: Any) -> Any:
    return SimpleNamespace(
        model=model,
        max_length=whisper.max_length,
        get_prompt=whisper.get_prompt,
        _split_segments_by_timestamps=whisper._split_segments_by_timestamps,
        frames_per_second=100,
        tokens_per_second=50,
    )


def attempt(temperature: float = 0.0, logprob: float = -0.3, ratio: float = 1.5, no_speech: float = 0.1) -> Attempt:
    return Attempt((), temperature, logprob, ratio, no_speech)


@pytest.mark.parametrize(
    ("made", "low_confidence", "silent"),
    [
        (attempt(), False, False),
        (attempt(logprob=-1.2), True, False),
        (attempt(ratio=2.5), True, False),
        (attempt(logprob=-1.2, no_speech=0.7), False, True),
        (attempt(logprob=-0.5, no_speech=0.9), False, False),
        (attempt(ratio=2.5, no_speech=0.9), True, False),
    ],
)
def test_quality_is_judged_as_by_faster_whisper(made: Attempt, low_confidence: bool, silent: bool) -> None:
    assert (made.low_confidence, made.silent) == (low_confidence, silent)


def test_of_failed_attempts_the_most_probable_that_does_not_repeat_is_taken() -> None:
    repeating = attempt(0.0, logprob=-0.1, ratio=5.0)
    poor, poorer = attempt(0.2, logprob=-1.5), attempt(0.4, logprob=-2.0)
    good = attempt(0.6)
    assert best([repeating, poor, poorer]) is poor
    assert best([repeating]) is repeating
    assert best([repeating, poor, good]) is good


def test_a_models_error_becomes_one_of_ours(engine: faster_whisper.FasterWhisper) -> None:
    executor = engine._batcher._executor
    for said, error in (("CUDA failed with error out of memory", ModelUnavailable), ("something else", EngineFailed)):

        def fail(*_: Any, said: str = said, **__: Any) -> Any:
            raise RuntimeError(said)

        executor.encoder = SimpleNamespace(encode=fail)  # type: ignore[attr-defined]
        with pytest.raises(error, match=said):
            heard_by(engine, np.zeros(RATE, np.float32), Decoding(), "en")


@pytest.mark.parametrize(
    ("name", "options"),
    [("short", {}), ("german", {"word_timestamps": True}), ("mp3", {"beam_size": 1})],
    ids=["short", "german-words", "mp3-greedy"],
)
def test_a_short_recording_that_is_heard_in_its_own_length_says_the_same(
    engine: faster_whisper.FasterWhisper, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    heard: list[int] = []
    encoder = engine._batcher._executor.encoder  # type: ignore[attr-defined]
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda features: (heard.append(features.shape[-1]), encode(features))[1])
    samples = decode(SAMPLES[name].path, limit_s=30)
    language = SAMPLES[name].language or "en"
    whole = heard_by(engine, samples, Decoding(**options), language)
    own = heard_by(engine, samples, Decoding(**options, fast_short=True), language)
    assert heard == [row.FRAMES, row.own_length(round(samples.size / RATE * 100))]
    assert heard[1] < row.FRAMES
    assert [segment.text for segment in own] == [segment.text for segment in whole]
    for ours, reference in zip(own, whole, strict=True):
        assert (ours.start, ours.end) == pytest.approx((reference.start, reference.end), abs=0.1)


@pytest.mark.parametrize("figure", ["avg_logprob", "compression_ratio"])
def test_what_comes_out_doubtful_in_its_own_length_is_heard_in_full(
    engine: faster_whisper.FasterWhisper, monkeypatch: pytest.MonkeyPatch, figure: str
) -> None:
    executor = engine._batcher._executor
    written, lengths = executor._written, []  # type: ignore[attr-defined]

    def doubtful(rows: Sequence[row.Row]) -> Sequence[Any]:
        lengths.extend(one.heard for one in rows)
        return written(rows)  # type: ignore[no-any-return]

    made = passes.attempt

    def worse(of: row.Row, result: Any, temperature: float) -> Attempt:
        attempt = made(of, result, temperature)
        bad = {"avg_logprob": -1.5, "compression_ratio": 3.0}[figure]
        return replace(attempt, **{figure: bad}) if of.heard < row.FRAMES else attempt

    monkeypatch.setattr(executor, "_written", doubtful)
    monkeypatch.setattr(passes, "attempt", worse)
    samples = decode(SAMPLES["short"].path, limit_s=30)
    expected = heard_by(engine, samples, Decoding(), "en")
    assert [heard_by(engine, samples, Decoding(fast_short=True), "en")] == alike([expected])
    assert lengths == [row.FRAMES, row.own_length(round(samples.size / RATE * 100)), row.FRAMES]


def test_the_language_is_told_in_a_recording_s_own_length_and_that_encoding_used_again(
    engine: faster_whisper.FasterWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    encoder = engine._batcher._executor.encoder  # type: ignore[attr-defined]
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda features: (heard.append(features.shape[-1]), encode(features))[1])
    samples = decode(SAMPLES["german"].path, limit_s=30)
    assert engine.detect_language(samples, fast_short=True)[0] == "de"
    heard_by(engine, samples, Decoding(fast_short=True), "de")
    assert heard == [row.own_length(round(samples.size / RATE * 100))]
    heard_by(engine, samples, Decoding(), "de")
    assert heard[1:] == [row.FRAMES]


@pytest.mark.parametrize("word_timestamps", [True, False])
@pytest.mark.parametrize("vad_filter", [True, False])
def test_what_a_text_without_timestamps_leaves_out_at_the_end_of_speech_is_heard_once_more(
    engine: faster_whisper.FasterWhisper, monkeypatch: pytest.MonkeyPatch, word_timestamps: bool, vad_filter: bool
) -> None:
    samples = decode(SAMPLES["short"].path, limit_s=30)
    decoding = Decoding(
        segmentation=Segmentation.WORDS, word_timestamps=word_timestamps, vad_filter=vad_filter, beam_size=1
    )
    whole = heard_by(engine, samples, decoding, "en")
    executor: Any = engine._batcher._executor
    written, cut = executor._written, []

    def stops_early(rows: Any) -> Any:
        results = list(written(rows))
        if not cut:
            first = results[0]
            cut.append(first.sequences_ids[0][: len(whole[0].tokens)])
            results[0] = SimpleNamespace(
                sequences_ids=cut[:1], scores=first.scores, no_speech_prob=first.no_speech_prob
            )
        return results

    monkeypatch.setattr(executor, "_written", stops_early)
    found = heard_by(engine, samples, decoding, "en")
    assert [segment.text for segment in found] == [segment.text for segment in (whole if vad_filter else whole[:1])]
    for one, other in zip(found, whole, strict=False):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.3)
