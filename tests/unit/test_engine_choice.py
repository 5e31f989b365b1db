import platform

import pytest
from pydantic import ValidationError

from transcription.errors import ModelUnavailable
from transcription.settings import Settings
from worker.engines.choice import choose
from worker.model_cache import ModelCache


class Stub:
    """An engine that only says what it was made of."""

    steps = 0

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self.slots = name, settings.worker.slots

    def close(self) -> None:
        pass


def engine(value: str, **others: object) -> Settings:
    return Settings.model_validate({"worker": {"engine": value, **others}})


def test_engine_named_as_module_and_factory_is_made_by_it_and_named_in_results() -> None:
    path = f"{Stub.__module__}:Stub"
    cache = ModelCache(engine(path, slots=3))
    with cache.get("whatever") as made:
        assert (type(made).__name__, made.name, made.slots) == ("Stub", "whatever", 3)  # type: ignore[attr-defined]
    assert (cache.engine, cache.device) == (path, "cpu")


@pytest.mark.parametrize("path", ["no_such_module:make", "worker.engines.choice:no_such_factory"])
def test_engine_that_cannot_be_imported_is_unavailable_and_named(path: str) -> None:
    with pytest.raises(ModelUnavailable, match=path), ModelCache(engine(path)).get("demo"):
        pass


def test_unknown_engine_is_refused_when_settings_are_read() -> None:
    with pytest.raises(ValidationError, match="engine"):
        engine("whisper_cpp")


@pytest.mark.parametrize(
    ("system", "machine", "engine_name", "device"),
    [
        ("Darwin", "arm64", "mlx_whisper", "metal"),
        ("Darwin", "x86_64", "faster_whisper", "cpu"),
        ("Linux", "aarch64", "faster_whisper", "cpu"),
    ],
)
def test_auto_takes_mlx_only_where_metal_is(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, engine_name: str, device: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr("worker.engines.choice.find_spec", lambda _: object())
    chosen = choose(engine("auto"))
    assert (chosen.engine, chosen.device) == (engine_name, device)
    monkeypatch.setattr("worker.engines.choice.find_spec", lambda _: None)
    assert choose(engine("auto")).engine == "faster_whisper"


def test_mlx_named_outright_computes_on_a_machine_without_metal() -> None:
    chosen = choose(engine("mlx_whisper"))
    assert chosen.engine == "mlx_whisper"
    assert chosen.device == ("metal" if platform.system() == "Darwin" else "cpu")
