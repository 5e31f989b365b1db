"""The engine in torch, in float32 on the CPU, writes what CTranslate2 does."""

import json
import random
import shutil
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ctranslate2 import StorageView
from ctranslate2.models import Whisper

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch
from faster_whisper.feature_extractor import FeatureExtractor
from safetensors.torch import save_file

from demo import SAMPLES
from transcription.errors import ModelUnavailable
from transcription.media.codecs.decode import decode
from transcription.options import Decoding
from transcription.settings import Settings
from transcription.spans import windows
from transcription.transcript import Segment
from worker import model_cache
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.engines.base import Engine
from worker.engines.marks import Marks
from worker.engines.torch.device import loading
from worker.engines.torch.device.captured import Captured
from worker.engines.torch.device.files import Ct2Tensors
from worker.engines.torch.device.mel import LogMel, Sound
from worker.engines.torch.device.model import TorchModel
from worker.engines.torch.device.rules import Rules
from worker.engines.torch.device.weights import read_network

WINDOWS_OF = {"short": 1, "german": 1, "long": 2}


def settings_of(engine: str, data: Path, model: str = "demo") -> Settings:
    return Settings.model_validate(
        {
            "data_dir": data,
            "model": model,
            "device": "cpu",
            "compute_type": "float32",
            "worker": {"engine": engine, "encoder": "ctranslate2"},
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def engines(data: Path) -> Iterator[tuple[Engine, Engine]]:
    loaded = [model_cache.load("demo", settings_of(name, data)) for name in ("faster_whisper", "torch")]
    yield loaded[0], loaded[1]
    for engine in loaded:
        engine.close()


@cache
def windows_of(name: str) -> tuple[Window, ...]:
    samples = decode(SAMPLES[name].path, limit_s=1000)
    return tuple(Window.collect(group, samples) for group in windows(detect_speech(samples)))[: WINDOWS_OF[name]]


def heard(engine: Engine, name: str, decoding: Decoding) -> list[Segment]:
    language = SAMPLES[name].language or "en"
    written = engine.transcribe(windows_of(name), decoding, language=language, owner=name, cancelled=lambda: False)
    return [segment for segments in written for segment in segments]


def assert_alike(ours: list[Segment], theirs: list[Segment]) -> None:
    assert [s.tokens for s in ours] == [s.tokens for s in theirs]
    pairs = []
    for one, other in zip(ours, theirs, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
        assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-4)
        assert (one.words is None) == (other.words is None)
        pairs += zip(one.words or (), other.words or (), strict=True)
    assert [a.word for a, _ in pairs] == [b.word for _, b in pairs]
    assert [a.probability for a, _ in pairs] == pytest.approx([b.probability for _, b in pairs], abs=1e-3)
    far = [(a, b) for a, b in pairs if abs(a.start - b.start) > 0.0201 or abs(a.end - b.end) > 0.0201]
    # CTranslate2 sums a path's costs in float32, and takes another one where two cost the same.
    assert len(far) <= len(pairs) // 20, far


@pytest.mark.parametrize("name", sorted(WINDOWS_OF))
@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(word_timestamps=True),
        Decoding(beam_size=1),
        Decoding(beam_size=3, prompt="The horse is near the river.", hotwords="camera"),
        Decoding(segmentation="words", word_timestamps=True),  # type: ignore[arg-type]
        Decoding(prompt="The green train leaves on Monday. " * 3, beam_size=2),
    ],
    ids=["words", "greedy", "prompted", "without-timestamps", "long-prompt"],
)
def test_tokens_and_words_are_those_of_ctranslate2(
    engines: tuple[Engine, Engine], name: str, decoding: Decoding
) -> None:
    theirs, ours = (heard(engine, name, decoding) for engine in engines)
    assert theirs
    assert_alike(ours, theirs)


def test_the_language_is_that_of_ctranslate2(engines: tuple[Engine, Engine]) -> None:
    theirs, ours = (engine.detect_language(windows_of("german")[0].samples) for engine in engines)
    assert ours[0] == theirs[0] == "de"
    assert ours[1] == pytest.approx(theirs[1], abs=1e-4)


def test_rows_that_want_other_things_write_together_what_they_write_alone(engines: tuple[Engine, Engine]) -> None:
    wanted = [
        ("short", Decoding(word_timestamps=True)),
        ("german", Decoding(beam_size=1)),
        ("german", Decoding(beam_size=4, task="translate")),  # type: ignore[arg-type]
        ("short", Decoding(segmentation="words")),  # type: ignore[arg-type]
        ("long", Decoding(prompt="Welcome.")),
        ("short", Decoding(beam_size=10)),
    ]
    _, ours = engines
    alone = [heard(ours, *what) for what in wanted]
    order = list(range(len(wanted)))
    random.Random(4).shuffle(order)
    with ThreadPoolExecutor(len(wanted)) as pool:
        together = {n: pool.submit(heard, ours, *wanted[n]) for n in order}
        for n, expected in enumerate(alone):
            assert_alike(together[n].result(), expected)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_what_is_drawn_keeps_to_the_rules_of_timestamps(engines: tuple[Engine, Engine], temperature: float) -> None:
    torch.manual_seed(2)
    _, ours = engines
    segments = heard(ours, "short", Decoding(temperature=temperature))
    assert all(segment.temperature == temperature for segment in segments)
    bounds = [time for segment in segments for time in (segment.start, segment.end)]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize("count", [333, 40_000, 480_000])
def test_log_mel_is_faster_whispers_in_any_company(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    empty = torch.empty
    monkeypatch.setattr(
        torch, "empty", lambda *given, **more: empty(*given, **more).normal_(std=1e4)
    )  # memory as found
    noise = np.resize(np.random.default_rng(1).standard_normal(40_000).astype(np.float32), 480_000)
    expected = FeatureExtractor(feature_size=80)(noise[:count])
    sound = Sound(noise[:count], 80)
    LogMel(80, torch.device("cpu"))([Sound(1e5 * noise, 80), sound, Sound(noise[:7], 80)])
    heard = expected.shape[1] - 1
    assert sound.shape == expected.shape
    found = sound.mel_from(0)
    assert found[:, :heard].numpy() == pytest.approx(expected[:, :heard], abs=2e-4)
    assert found.shape == (80, 3000)
    assert not found[:, heard:].any()


MARKS = Marks(size=20, end=10, start=11, no_speech=12, timestamps=15)


def allowed(**state: Any) -> list[int]:
    """Ids that may come next, of 10 words, 5 marks and 5 times, to a row of which nothing else is said."""
    rules = Rules(MARKS, suppressed=(3, 11, 12, 13), suppressed_first=(10,), device="cpu")
    logits = torch.zeros(1, 20)
    logits[0, 15:] = state.pop("times", -3.0)
    given = {"first": False, "timed": True, "last": False, "before": False, "latest": 0} | state
    rules.apply(logits, **{name: torch.tensor([value]) for name, value in given.items()})
    return torch.isfinite(logits[0]).nonzero()[:, 0].tolist()


WORDS = [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"first": True}, [15, 16, 17, 18, 19]),
        ({"latest": 16}, [*WORDS, 10, 16, 17, 18, 19]),
        ({"last": True, "before": True, "latest": 16}, [*WORDS, 10]),
        ({"last": True, "latest": 17}, [10, 17, 18, 19]),
        ({"times": 1.0, "latest": 16}, [16, 17, 18, 19]),
        ({"times": -1.0, "latest": 16}, [16, 17, 18, 19]),
        ({"timed": False, "first": True}, [*WORDS, 14, 15, 16, 17, 18, 19]),
        ({"timed": False}, [*WORDS, 10, 14, 15, 16, 17, 18, 19]),
    ],
    ids=["first", "text", "closed", "open", "times-win", "times-win-together", "untimed-first", "untimed"],
)
def test_rules_of_timestamps(state: dict[str, Any], expected: list[int]) -> None:
    assert allowed(**state) == expected


def test_the_first_segment_of_a_window_begins_in_its_first_second() -> None:
    marks = replace(MARKS, size=15 + 100)
    logits = torch.zeros(1, marks.size)
    state = {"timed": True, "first": True, "last": False, "before": False, "latest": 0}
    Rules(marks, (), (), "cpu").apply(logits, **{name: torch.tensor([value]) for name, value in state.items()})
    assert torch.isfinite(logits[0]).nonzero()[:, 0].tolist() == list(range(15, 15 + 51))


def as_hugging_face(source: Path, target: Path) -> None:
    """Write CTranslate2's model in *source* as Hugging Face has it."""
    tensors = Ct2Tensors(source / "model.bin")
    network = read_network(source, device="cpu", compute_type="float32")
    names = {"self_attention": "self_attn", "attention": "encoder_attn", "linear_0": "fc1", "linear_1": "fc2"}
    written: dict[str, torch.Tensor] = {}
    for side in ("encoder", "decoder"):
        count = len(network.encoder.layers if side == "encoder" else network.decoder.layers)
        for number in range(count):
            old, new = f"{side}/layer_{number}", f"model.{side}.layers.{number}"
            _attention(tensors, f"{old}/self_attention", f"{new}.self_attn", written, fused=3)
            if side == "decoder":
                _attention(tensors, f"{old}/attention", f"{new}.encoder_attn", written, fused=2)
            _norm(tensors, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm", written)
            for linear in ("linear_0", "linear_1"):
                for part in ("weight", "bias"):
                    written[f"{new}.{names[linear]}.{part}"] = tensors[f"{old}/ffn/{linear}/{part}"]
        _norm(tensors, f"{side}/layer_norm", f"model.{side}.layer_norm", written)
        written[f"model.{side}.embed_positions.weight"] = tensors[f"{side}/position_encodings/encodings"]
    for number in (1, 2):
        for part in ("weight", "bias"):
            written[f"model.encoder.conv{number}.{part}"] = tensors[f"encoder/conv{number}/{part}"]
    written["model.decoder.embed_tokens.weight"] = tensors["decoder/embeddings/weight"]
    target.mkdir()
    save_file({name: tensor.contiguous().clone() for name, tensor in written.items()}, target / "model.safetensors")
    heads = {"encoder_attention_heads": network.encoder.heads, "decoder_attention_heads": network.decoder.heads}
    (target / "config.json").write_text(json.dumps({"model_type": "whisper", **heads}))
    said = {
        "alignment_heads": network.alignment_heads,
        "begin_suppress_tokens": network.suppressed_first,
        "lang_to_id": {str(token): token for token in network.languages},
    }
    (target / "generation_config.json").write_text(json.dumps(said))
    shutil.copy(source / "tokenizer.json", target)


def _norm(tensors: Any, old: str, new: str, written: dict[str, torch.Tensor]) -> None:
    written[f"{new}.weight"], written[f"{new}.bias"] = tensors[f"{old}/gamma"], tensors[f"{old}/beta"]


def _attention(tensors: Any, old: str, new: str, written: dict[str, torch.Tensor], *, fused: int) -> None:
    norm = f"{new}_layer_norm"
    _norm(tensors, f"{old}/layer_norm", norm, written)
    linears = [f"{old}/linear_{number}" for number in range(2 if fused == 3 else 3)]
    projections = [part for linear in linears for part in _parts(tensors, linear)]
    for name, (weight, bias) in zip(("q_proj", "k_proj", "v_proj", "out_proj"), projections, strict=True):
        written[f"{new}.{name}.weight"] = weight
        if name != "k_proj":
            written[f"{new}.{name}.bias"] = bias


def _parts(tensors: Any, linear: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    weight, bias = tensors[f"{linear}/weight"], tensors[f"{linear}/bias"]
    count = len(weight) // weight.shape[1]
    return list(zip(weight.chunk(count), bias.chunk(count), strict=True))


@pytest.fixture(scope="module")
def ct2(data: Path, engines: tuple[Engine, Engine]) -> Path:
    return model_cache.locate("demo", settings_of("torch", data))


@pytest.fixture(scope="module")
def model(ct2: Path, data: Path) -> Iterator[TorchModel]:
    """The model by itself, in this process."""
    made, _ = loading.load("demo", ct2, settings_of("torch", data), device="cpu", compute_type="float32", kept=32)
    yield made
    made.stop()


def test_a_later_pass_hears_its_window_from_its_own_frame_on(model: TorchModel) -> None:
    window, rest = (Sound(windows_of("short")[0].samples[:160_000], model.n_mels) for _ in range(2))
    whole, later = model.encode([(window, 0), (window, 400)])
    rest.mel = torch.zeros(model.n_mels, 3000)
    rest.mel[:, :600] = window.mel[:, 400:1000]
    (alone,) = model.encode([(rest, 0)])
    assert torch.allclose(later, alone, atol=1e-4)
    assert not torch.allclose(later, whole, atol=1e-1)


def test_what_a_graph_has_computed_is_taken_before_it_runs_again(
    model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's graph writes its results where its last ones were; a CPU is made to forget them here."""
    plain = Captured.__call__
    first, second = (windows_of("long")[number].samples for number in range(2))
    (expected,) = model.encode([(Sound(first, model.n_mels), 0)])
    calls = 0

    def forgetful(self: Captured, *given: torch.Tensor) -> Sequence[torch.Tensor]:
        nonlocal calls
        calls += 1
        latest = self.__dict__.setdefault("latest", {})
        for tensor in latest.get(key := tuple(each.shape for each in given), ()):
            tensor.fill_(torch.nan)
        latest[key] = made = plain(self, *given)
        return made

    monkeypatch.setattr(Captured, "__call__", forgetful)
    sound = Sound(first, model.n_mels)
    (found,) = model.encode([(sound, 0)])
    model.encode([(Sound(second, model.n_mels), 0)])
    (later,) = model.encode([(sound, 0)])
    assert calls == 5, "log-mel twice and three encodings"
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(later, expected, atol=1e-4)


def test_encodings_are_those_of_ctranslate2_to_the_precision_of_float32(ct2: Path) -> None:
    mel = np.random.default_rng(1).standard_normal((2, 80, 3000)).astype(np.float32)
    network = read_network(ct2, device="cpu", compute_type="float32")
    with torch.inference_mode():
        ours = network.encoder(torch.from_numpy(mel)).numpy()
    theirs = np.asarray(Whisper(str(ct2), compute_type="float32").encode(StorageView.from_array(mel)))
    # Half precision is off by some 3e-4 of what is largest.
    assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()


def test_hugging_faces_directory_holds_the_same_model(
    engines: tuple[Engine, Engine], ct2: Path, data: Path, tmp_path: Path
) -> None:
    as_hugging_face(ct2, tmp_path / "hugging")
    loaded = model_cache.load(str(tmp_path / "hugging"), settings_of("torch", data, str(tmp_path / "hugging")))
    decoding = Decoding(word_timestamps=True)
    try:
        assert_alike(heard(loaded, "short", decoding), heard(engines[1], "short", decoding))
    finally:
        loaded.close()


def broken(ct2: Path, target: Path, content: bytes) -> Path:
    shutil.copytree(ct2, target)
    (target / "model.bin").write_bytes(content)
    return target


def test_half_a_model_and_another_architecture_are_refused_in_one_sentence(
    ct2: Path, data: Path, tmp_path: Path
) -> None:
    whole = (ct2 / "model.bin").read_bytes()
    halved = broken(ct2, tmp_path / "halved", whole[: len(whole) // 2])
    name = b"TransformerSpec\0"
    other = broken(ct2, tmp_path / "other", whole[:4] + struct.pack("<H", len(name)) + name + whole[6 + 12 :])
    untold = tmp_path / "untold"
    shutil.copytree(ct2, untold)
    (untold / "tokenizer.json").unlink()
    for directory, said in (
        (halved, "not a whole one"),
        (other, "Transformer model, not Whisper"),
        (untold, "tokenizer"),
    ):
        with pytest.raises(ModelUnavailable, match=said) as caught:
            model_cache.load(str(directory), settings_of("torch", data, str(directory)))
        assert "\n" not in caught.value.message


def test_arithmetic_that_torch_lacks_is_refused(data: Path) -> None:
    settings = settings_of("torch", data).model_copy(update={"compute_type": "int8"})
    with pytest.raises(ModelUnavailable, match="float16, bfloat16, float32"):
        model_cache.load("demo", settings)
