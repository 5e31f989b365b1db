"""Which model a name stands for."""

import os
import random
from pathlib import Path

import pytest

from transcription.errors import ModelNotServed
from transcription.models import PUBLISHED_NAMES, resolve
from transcription.settings import Settings
from transcription.storage.model_revision import revision


def ask(name: str | None, settings: Settings) -> str:
    return resolve(name, default=settings.model, served=settings.served, aliases=settings.aliases())


@pytest.mark.parametrize("name", [None, "demo", *PUBLISHED_NAMES])
def test_on_the_demo_model_every_published_name_runs_offline(name: str | None) -> None:
    assert ask(name, Settings(model="demo")) == "demo"


def test_elsewhere_a_name_that_is_not_served_is_an_error_that_lists_what_is() -> None:
    settings = Settings(model="base", models=("small",), model_aliases={"fast": "base"})
    assert [ask(name, settings) for name in ("small", "fast", "whisper-1", None)] == ["small", "base", "base", "base"]
    with pytest.raises(ModelNotServed, match=r"'large-v3' isn't served here; served: base, fast, .*small, whisper-1"):
        ask("large-v3", settings)


@pytest.mark.parametrize(
    ("name", "model"),
    [("whisper-small", "small"), ("whisper-large", "large-v3"), ("large", "large-v3"), ("gpt-4o-transcribe", "base")],
)
def test_published_spellings_of_a_served_model_need_no_setting(name: str, model: str) -> None:
    assert ask(name, Settings(model="base", models=("small", "large-v3"))) == model


def test_a_spelling_of_a_model_that_is_not_served_stands_for_no_other() -> None:
    with pytest.raises(ModelNotServed):
        ask("whisper-large", Settings(model="base"))


def stored(directory: Path, weights: bytes) -> str:
    """The revision of a model with these weights, whose file keeps its time, as copies and images do."""
    directory.mkdir(exist_ok=True)
    (directory / "model.bin").write_bytes(weights)
    os.utime(directory / "model.bin", (1_700_000_000, 1_700_000_000))
    return revision(str(directory))


def test_a_fine_tuned_model_of_the_same_size_and_time_is_another_revision(tmp_path: Path) -> None:
    base = random.Random(1).randbytes(10_000_000)
    tuned = bytes(value ^ 1 for value in base)
    for one, other in ((b"one", b"two"), (b"one", b"other weights"), (base, tuned), (base, base[:-1] + b"\0\0")):
        assert stored(tmp_path / "model", one) != stored(tmp_path / "model", other)
    # The head and the tail are read whole.
    head, tail = (base[:100] + b"x" + base[101:]), base[:-100] + b"x" + base[-99:]
    assert len({stored(tmp_path / "model", weights) for weights in (base, head, tail)}) == 3


def test_the_same_weights_are_one_revision_on_every_host(tmp_path: Path) -> None:
    weights = random.Random(2).randbytes(5_000_000)
    here, there = stored(tmp_path / "here", weights), stored(tmp_path / "there", weights)
    os.utime(tmp_path / "there" / "model.bin", (1, 1))
    assert here == there == revision(str(tmp_path / "there"))


def test_a_name_without_its_owner_and_format_means_the_size_and_no_other() -> None:
    settings = Settings(model="base", models=("turbo", "distil-large-v3"))
    assert ask("Systran/faster-whisper-base", settings) == "base"
    assert ask("openai/whisper-large-v3-turbo", settings) == "turbo"
    assert ask("distil-whisper/distil-large-v3", settings) == "distil-large-v3"
    for other in ("Systran/faster-whisper-small", "openai/whisper-large-v3", "base/../etc", "/base"):
        with pytest.raises(ModelNotServed):
            ask(other, settings)


def test_of_many_names_few_are_listed() -> None:
    with pytest.raises(ModelNotServed) as error:
        ask("no-such-model", Settings(model="demo"))
    assert len(error.value.message) < 300
