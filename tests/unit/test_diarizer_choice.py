"""Diarizers of other makers: how they are named, found and loaded, without any of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from transcription.errors import ModelUnavailable
from transcription.settings import Settings
from worker.diarizers import choice
from worker.diarizers.choice import ALIKE, COMMUNITY, ChosenDiarizer


class Maker:
    """Both engines' modules; remembers what each diarizer was made of."""

    SEGMENTATION, EMBEDDING = "segmentation.onnx", "embedding.onnx"

    def __init__(self) -> None:
        self.made: list[tuple[Any, dict[str, Any]]] = []
        self.release = "4.0"

    def PyannoteDiarizer(self, source: object, **how: Any) -> object:  # noqa: N802
        self.made.append((source, how))
        return SimpleNamespace()

    SherpaDiarizer = PyannoteDiarizer


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    made = Maker()
    monkeypatch.setattr(choice, "import_module", lambda _: made)
    monkeypatch.setattr(choice, "version", lambda _: made.release)
    return made


def chosen(diarizer: object, **worker: object) -> ChosenDiarizer:
    given = {"device": "cuda", "data_dir": "/data", "worker": {"diarizer": str(diarizer), **worker}}
    return ChosenDiarizer(Settings.model_validate(given))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in (Maker.SEGMENTATION, Maker.EMBEDDING):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_pyannote_gets_its_model_device_cache_and_threshold(maker: Maker, models: Path) -> None:
    for source, threshold in (("pyannote", None), ("pyannote:org/model", 0.3), (f"pyannote:{models}", None)):
        one = chosen(source, **({"diarizer_threshold": threshold} if threshold else {}))
        one.get()
        assert maker.made[-1][1] == {
            "name": one.name, "device": "cuda", "cache": Path("/data/models"), "threshold": threshold or ALIKE,
        }  # fmt: skip
    assert [source for source, _ in maker.made] == [COMMUNITY, "org/model", str(models)]
    assert chosen("pyannote:org/model").name == "pyannote-4.0@org/model"


def test_sherpa_gets_its_models_threads_and_threshold(
    maker: Maker, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(models.parent))
    chosen(f"sherpa:~/{models.name}", threads=3).get()
    chosen(f"sherpa:{models}", threads=3, diarizer_threshold=0.3).get()
    assert [source for source, _ in maker.made] == [models, models]
    assert [(how["threads"], how["threshold"]) for _, how in maker.made] == [(3, ALIKE), (3, 0.3)]


@pytest.mark.parametrize("engine", ["pyannote", "sherpa"])
def test_other_releases_and_models_have_other_names(maker: Maker, models: Path, engine: str) -> None:
    names = [chosen(f"{engine}:{models}").name for _ in range(2)]
    assert names[0] == names[1]
    (models / Maker.EMBEDDING).write_text("other weights.")  # as long as before
    names.append(chosen(f"{engine}:{models}").name)
    first, second = ((models / name).read_text() for name in (Maker.SEGMENTATION, Maker.EMBEDDING))
    (models / Maker.SEGMENTATION).write_text(first + second[:4])  # the same bytes, cut elsewhere
    (models / Maker.EMBEDDING).write_text(second[4:])
    names.append(chosen(f"{engine}:{models}").name)
    maker.release = "4.1"
    names.append(chosen(f"{engine}:{models}").name)
    assert len(set(names)) == 4


def test_order_in_which_a_disk_lists_a_model_s_files_makes_no_other_name(
    maker: Maker, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, listed = set(), sorted(models.iterdir())
    for order in (listed, listed[::-1]):
        monkeypatch.setattr(Path, "rglob", lambda *_, order=order: iter(order))
        names.add(chosen(f"pyannote:{models}").name)
    assert len(names) == 1


@pytest.mark.parametrize("gone", [Maker.SEGMENTATION, Maker.EMBEDDING])
def test_sherpa_without_one_of_its_models_is_said_at_the_start(maker: Maker, models: Path, gone: str) -> None:
    (models / gone).unlink()
    with pytest.raises(ModelUnavailable, match=f"has no {gone} .MURMUR_WORKER__DIARIZER"):
        chosen(f"sherpa:{models}")
    assert not maker.made


def test_network_s_path_is_expanded_and_one_that_is_not_there_is_no_published_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "voices.onnx").write_bytes(b"a network")
    assert chosen("~/voices.onnx").name.startswith("voices@")
    monkeypatch.setattr(choice, "located", lambda *_, **__: pytest.fail("the hub was asked"))
    for gone in ("~/gone.onnx", "./gone.onnx", "voices/gone.onnx"):
        with pytest.raises(ModelUnavailable, match="there is no speaker network"):
            chosen(gone)


def test_published_network_has_the_same_name_with_its_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found").write_bytes(b"a network")
    monkeypatch.setattr(choice, "located", lambda *_, **__: tmp_path / "found")
    assert chosen("titanet.onnx").name == chosen("titanet").name


def test_worker_without_a_diarizer_says_which_setting_it_lacks() -> None:
    with pytest.raises(ModelUnavailable, match="MURMUR_WORKER__DIARIZER"):
        chosen("off").get()
