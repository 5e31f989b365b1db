import json
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.fast_matrices import lend_mlx_fast_matrices

lend_mlx_fast_matrices()
mlx = pytest.importorskip("mlx.core", reason="MLX isn't installed")

import demo  # noqa: E402
from transcription.errors import ModelUnavailable  # noqa: E402
from transcription.settings import Settings  # noqa: E402
from worker.engines.alignment import path_through  # noqa: E402
from worker.engines.marks import Marks  # noqa: E402
from worker.engines.mlx import weights  # noqa: E402
from worker.engines.mlx.engine import locate, open_model  # noqa: E402
from worker.engines.mlx.search import _Grammar, write  # noqa: E402
from worker.engines.mlx.thread import owner  # noqa: E402

END, START, NO_SPEECH, TIMES = 10, 11, 12, 20
MARKS = Marks(size=40, end=END, start=START, no_speech=NO_SPEECH, timestamps=TIMES)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, "worker": {"engine": "mlx_whisper"}})


@pytest.mark.parametrize(("size", "languages"), [(51864, 99), (51865, 99), (51866, 100)])
def test_tokenizer_made_from_ranks_is_whispers_own(tmp_path: Path, size: int, languages: int) -> None:
    from mlx_whisper.tokenizer import get_tokenizer

    multilingual = size > 51864
    theirs = get_tokenizer(
        multilingual,
        num_languages=languages,
        language="en" if multilingual else None,
        task="transcribe" if multilingual else None,
    )
    ours = weights.read_tokenizer(tmp_path, size)
    assert ours.get_vocab_size() == size
    for text in (" Hello, world! It's 3.14 naïve café", "Größe 你好 привет ♪♪ 12345   spaces  \n new"):
        ids = ours.encode(text, add_special_tokens=False).ids
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == text
    assert ours.token_to_id("<|endoftext|>") == theirs.eot
    assert ours.token_to_id("<|notimestamps|>") == theirs.no_timestamps
    assert ours.token_to_id("<|30.00|>") == theirs.timestamp_begin + 1500


def possible(*tokens: int) -> set[int]:
    """What may follow *tokens* when no id is more probable than another."""

    def ask() -> set[int]:
        grammar = _Grammar(MARKS, (3,), 1)
        for number, token in enumerate(tokens):
            grammar.add(mlx.array([token]), first=number == 0)
        even = mlx.where(mlx.arange(MARKS.size) < TIMES, 10.0, 0.0)[None]
        scores = grammar.first(even, 5) if not tokens else grammar.allowed(even)
        return {int(index) for index in np.flatnonzero(np.isfinite(np.array(scores)[0]))}

    return owner().call(ask)


WORDS = set(range(TIMES - 1)) - {3}  # the last id before the times stands for «no times», the suppressed one is 3


def test_times_come_in_pairs_and_never_go_back() -> None:
    assert possible() == set(range(20, 26))
    assert possible(22) == WORDS
    assert possible(22, 1) == WORDS | set(range(23, 40))
    assert possible(22, 1, 25) == set(range(END, TIMES - 1)) | set(range(25, 40))
    assert possible(22, 1, 25, 25) == WORDS
    assert possible(22, 1, 25, 25, 2) == WORDS | set(range(26, 40))


def test_a_row_that_never_ends_is_cut_and_its_neighbour_is_not_touched() -> None:
    def decoder(tokens: object, _: object, kv_cache: object = None) -> tuple[object, object, object]:
        rows, length = tokens.shape  # type: ignore[attr-defined]
        favourite = mlx.array([END if kv_cache else 21, 5 if kv_cache else 22])[:, None, None]
        return 9.0 * (mlx.arange(MARKS.size)[None, None] == favourite) * mlx.ones((rows, length, 1)), [1], None

    def search() -> list[list[int]]:
        written = write(
            decoder, MARKS, mlx.zeros((2, 1)), [[START], [START]], temperature=0, suppressed=(), latest_first=5, limit=7
        )
        return [row.tokens for row in written]

    assert owner().call(search) == [[21], [22, 5, 5, 5, 5, 5, 5]]


def test_the_path_through_time_is_the_cheapest() -> None:
    cost = np.ones((3, 8))
    for token, steps in enumerate([(0, 1, 2), (3, 4), (5, 6, 7)]):
        cost[token, list(steps)] = 0
    assert path_through(cost) == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6), (2, 7)]
    assert path_through(np.zeros((2, 0))) == []


def test_all_work_is_done_on_one_thread() -> None:
    names = {owner().call(lambda: threading.current_thread().name) for _ in range(3)}
    assert names == {"mlx"}


def test_error_brings_no_array_to_another_thread() -> None:
    def fail() -> None:
        array = mlx.zeros(1 << 20)
        mlx.eval(array)
        raise ValueError(str(array.shape))

    before = owner().call(mlx.get_active_memory)
    with pytest.raises(ValueError, match="1048576") as caught:
        owner().call(fail)
    assert owner().call(mlx.get_active_memory) == before
    del caught


def test_memory_that_is_not_there_is_said_to_be_out() -> None:
    def exhausted() -> None:
        raise RuntimeError("[malloc] Unable to allocate 99 bytes.")

    with pytest.raises(RuntimeError, match=r"^out of memory"):
        owner().call(exhausted)


def test_cache_keeps_to_its_limit_and_a_closed_engine_leaves_nothing(settings: Settings) -> None:
    limited = settings.model_copy(
        update={
            "worker": settings.worker.model_copy(
                update={"mlx": settings.worker.mlx.model_copy(update={"cache_bytes": 1 << 20})}
            )
        }
    )
    before = owner().call(mlx.get_active_memory)
    engine = open_model("demo", limited)
    engine.detect_language(np.zeros(16_000, np.float32))
    assert owner().call(mlx.get_cache_memory) <= 1 << 20
    assert owner().call(mlx.get_active_memory) > before
    engine.close()
    assert owner().call(mlx.get_cache_memory) == 0
    assert owner().call(mlx.get_active_memory) < before + 10_000


def test_demo_model_is_exported_once_with_its_own_words(settings: Settings) -> None:
    directory = locate("demo", settings)
    assert locate("demo", settings) == directory
    assert directory.name == f"demo-mlx-{demo.REVISION}"
    assert len(json.loads((directory / "tokenizer.json").read_text("utf-8"))["added_tokens"]) > 1500


@pytest.mark.parametrize("name", ["nothing", "/no/such/directory", "a/b/c"])
def test_unknown_model_is_unavailable(settings: Settings, name: str) -> None:
    with pytest.raises(ModelUnavailable, match="neither `demo`"):
        locate(name, settings)


def test_directory_without_weights_is_no_model(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"weights\.safetensors or weights\.npz"):
        locate(str(tmp_path), settings)


def test_broken_weights_and_unknown_arithmetic_are_said_by_name(settings: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "weights.npz").write_bytes(b"nothing")
    with pytest.raises(ModelUnavailable, match="can't be loaded by MLX"):
        open_model(str(broken), settings)
    with pytest.raises(ModelUnavailable, match="int8"):
        open_model("demo", settings.model_copy(update={"compute_type": "int8"}))


def test_download_that_was_cut_goes_on(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hub(_: str, *, local_files_only: bool = False, **__: object) -> str:
        (tmp_path / "config.json").write_text("{}")
        if not local_files_only:
            (tmp_path / "weights.npz").write_bytes(b"all of it")
        return str(tmp_path)

    monkeypatch.setattr("worker.engines.mlx.engine.snapshot_download", hub)
    assert (locate("base", settings) / "weights.npz").is_file()


def test_hub_that_cannot_be_reached_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def offline(repository: str, **_: object) -> str:
        asked.append(repository)
        raise OSError("offline")

    monkeypatch.setattr("worker.engines.mlx.engine.snapshot_download", offline)
    for name in ("base", "turbo", "mlx-community/whisper-large-v3-mlx"):
        with pytest.raises(ModelUnavailable, match="offline"):
            locate(name, settings)
    assert asked[::2] == [
        "mlx-community/whisper-base-mlx",
        "mlx-community/whisper-large-v3-turbo",
        "mlx-community/whisper-large-v3-mlx",
    ]
