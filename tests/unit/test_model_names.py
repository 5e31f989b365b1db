"""Which model a name stands for."""

from typing import Any

import pytest

from transcription.errors import InvalidOption, ModelNotServed
from transcription.models import CHECKPOINTS, PUBLISHED_NAMES, is_english_only, require_english, resolve
from transcription.options import Task
from transcription.settings import Settings


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


def test_names_that_end_in_en_are_those_of_models_that_know_english_alone() -> None:
    assert {name for name in CHECKPOINTS if is_english_only(name)} == {
        "tiny.en", "base.en", "small.en", "medium.en", "distil-small.en", "distil-medium.en",
    }  # fmt: skip
    others = ("Systran/faster-whisper-base.en", "mlx-community/whisper-base.en-mlx", "/srv/models/base.en")
    assert [is_english_only(name) for name in (*others, "demo", "auto", "/srv/base.en/2")] == [True] * 3 + [False] * 3


def test_a_model_of_english_transcribes_english_and_refuses_all_else() -> None:
    require_english("base.en")
    require_english("base.en", task=Task.TRANSCRIBE, language="en", languages=("de", "en"))
    asked: list[tuple[str, dict[str, Any]]] = [
        ("task: translate: model 'base.en'", {"task": Task.TRANSLATE, "language": "en"}),
        ("language: de: model 'base.en'", {"language": "de", "languages": ("de", "en")}),
        ("languages: de, fr: model 'base.en'", {"languages": ("de", "fr")}),
    ]
    for message, options in asked:
        with pytest.raises(InvalidOption, match=message):
            require_english("base.en", **options)
