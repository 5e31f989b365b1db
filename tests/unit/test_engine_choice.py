import platform
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from transcription.errors import ModelUnavailable
from transcription.settings import Settings
from worker.engines.choice import CUDA_OF_TORCH, TORCH_SLOTS, TORCH_TYPES, choose
from worker.engines.cpu_layout import LEAST_SLOTS
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
    there = SimpleNamespace(submodule_search_locations=None)
    monkeypatch.setattr("worker.engines.choice.find_spec", lambda _: there)
    chosen = choose(engine("auto"))
    assert (chosen.engine, chosen.device) == (engine_name, device)
    monkeypatch.setattr("worker.engines.choice.find_spec", lambda _: None)
    assert choose(engine("auto")).engine == "faster_whisper"


def test_mlx_named_outright_computes_on_a_machine_without_metal() -> None:
    chosen = choose(engine("mlx_whisper"))
    assert chosen.engine == "mlx_whisper"
    assert chosen.device == ("metal" if platform.system() == "Darwin" else "cpu")


@pytest.mark.parametrize(("wanted", "expected"), [("auto", "float32"), ("int8", "int8")])
def test_torch_on_a_cpu_computes_in_float32_and_in_few_slots(
    monkeypatch: pytest.MonkeyPatch, wanted: str, expected: str
) -> None:
    monkeypatch.setattr("worker.engines.choice.arithmetic", lambda _, **__: ("cpu", "int8"))
    chosen = choose(Settings.model_validate({"compute_type": wanted, "worker": {"engine": "torch"}}))
    assert (chosen.device, chosen.compute_type, chosen.slots) == ("cpu", expected, LEAST_SLOTS)


def test_torch_on_a_gpu_has_many_slots_or_those_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engines.choice.arithmetic", lambda _, **__: ("cuda", "float16"))
    chosen = choose(engine("torch"))
    assert (chosen.device, chosen.compute_type, chosen.slots) == ("cuda", "float16", TORCH_SLOTS)
    assert choose(engine("torch", slots=3)).slots == choose(engine("mlx_whisper", slots=3)).slots == 3


TORCH = "__version__ = '2.13.0'\ncuda: Optional[str] = {}\nhip: Optional[str] = '6.4'\n"


@pytest.mark.parametrize(
    ("cuda", "also", "driver", "arithmetic", "expected"),
    [
        ("'13.0'", "safetensors", (13, 9), ("cuda", "float16"), "torch"),
        ("'12.8'", "safetensors", (13, 8), ("cuda", "bfloat16"), "torch"),
        ("'13.0'", "safetensors", (13, 9), ("cuda", "int8_float16"), "faster_whisper"),
        ("'13.0'", "safetensors", (13, 9), ("cpu", "float32"), "faster_whisper"),
        ("None", "safetensors", (13, 9), ("cuda", "float16"), "faster_whisper"),
        ("'13.0'", "nothing else", (13, 9), ("cuda", "float16"), "faster_whisper"),
        ("'13.0'", "safetensors", (12, 9), ("cuda", "float16"), "faster_whisper"),  # the driver is too old for it
        ("'13.0'", "safetensors", (13, 7), ("cuda", "float16"), "faster_whisper"),  # the card is
        ("'13.0'", "safetensors", None, ("cuda", "float16"), "faster_whisper"),
    ],
)
def test_auto_takes_torch_only_where_the_installed_build_can_use_the_gpu(  # noqa: PLR0917  a row of the table
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cuda: str,
    also: str,
    driver: tuple[int, int] | None,
    arithmetic: tuple[str, str],
    expected: str,
) -> None:
    (tmp_path / "version.py").write_text(TORCH.format(cuda))
    there = {"torch": SimpleNamespace(submodule_search_locations=[str(tmp_path)]), also: object()}
    monkeypatch.setattr("worker.engines.choice.find_spec", there.get)
    monkeypatch.setattr("worker.engines.gpu.of_driver", lambda: driver)
    monkeypatch.setattr("worker.engines.choice.arithmetic", lambda _, **__: arithmetic)
    assert choose(engine("auto")).engine == expected
    monkeypatch.setattr("worker.engines.choice.find_spec", lambda _: None)
    assert choose(engine("auto")).engine == "faster_whisper"


def test_a_folder_that_happens_to_be_called_torch_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("worker.engines.choice.find_spec", lambda _: there)
    monkeypatch.setattr("worker.engines.choice.arithmetic", lambda _, **__: ("cuda", "float16"))
    monkeypatch.setattr("worker.engines.gpu.of_driver", lambda: (13, 9))
    monkeypatch.setattr("worker.engines.choice._has_metal", lambda: False)
    assert choose(engine("auto")).engine == "faster_whisper"


def test_what_torch_was_built_for_is_read_as_torch_says_it() -> None:
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    read = CUDA_OF_TORCH.search(Path(torch.version.__file__).read_text("utf-8"))
    assert (read and read[1]) == (torch.version.cuda and torch.version.cuda.split(".")[0])


def test_types_that_torch_computes_in_are_known_without_it() -> None:
    weights = pytest.importorskip("worker.engines.torch.device.weights", reason="torch isn't installed")
    assert set(weights.DTYPES) == TORCH_TYPES


@pytest.mark.parametrize(
    ("device", "compute_type", "expected"),
    [
        ("auto", "auto", ("metal", "float16")), ("cpu", "auto", ("cpu", "float32")),
        ("auto", "float32", ("metal", "float32")),
    ],
)  # fmt: skip
def test_mlx_computes_in_half_on_metal_and_whole_on_a_cpu_unless_another_is_set(
    monkeypatch: pytest.MonkeyPatch, device: str, compute_type: str, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr("worker.engines.choice._has_metal", lambda: True)
    given = {"device": device, "compute_type": compute_type, "worker": {"engine": "mlx_whisper"}}
    chosen = choose(Settings.model_validate(given))
    assert (chosen.device, chosen.compute_type) == expected
