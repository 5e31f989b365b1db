"""The demo model's export: complete or not there, and the weights that were shipped."""

import hashlib
import json
import multiprocessing
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from demo import REVISION, export_ct2, export_mlx
from demo.weights import WEIGHTS_FILE

CT2_FILES = {
    "config.json",
    "demo.json",
    "model.bin",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocabulary.json",
}


def test_revision_is_the_hash_of_the_shipped_weights() -> None:
    assert hashlib.sha256(WEIGHTS_FILE.read_bytes()).hexdigest().startswith(REVISION)


def test_second_export_leaves_the_first_untouched(tmp_path: Path) -> None:
    directory = export_mlx(tmp_path / "data" / "mlx")
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}

    assert export_mlx(directory) == directory

    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_export_of_another_revision_is_replaced(tmp_path: Path) -> None:
    directory = export_mlx(tmp_path / "mlx")
    stamp = json.loads((directory / "demo.json").read_text())
    (directory / "demo.json").write_text(json.dumps(stamp | {"revision": "0" * 12}))
    (directory / "weights.safetensors").write_bytes(b"old")

    export_mlx(directory)

    assert json.loads((directory / "demo.json").read_text()) == stamp
    assert (directory / "weights.safetensors").stat().st_size > 1_000_000


def test_export_refuses_a_directory_that_holds_something_else(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")

    with pytest.raises(FileExistsError, match="name an empty or a new directory"):
        export_mlx(tmp_path)

    assert precious.read_text() == "mine"


def test_draft_of_a_killed_export_is_replaced_by_a_whole_model(tmp_path: Path) -> None:
    draft = tmp_path / ".mlx.draft"
    draft.mkdir()
    (draft / "leftover.bin").write_bytes(b"half")

    directory = export_mlx(tmp_path / "mlx")

    assert {path.name for path in directory.iterdir()} == {
        "config.json",
        "demo.json",
        "tokenizer.json",
        "weights.safetensors",
    }
    assert not draft.exists()


def test_two_processes_exporting_at_once_each_find_a_whole_model(tmp_path: Path) -> None:
    directory = tmp_path / "ct2"
    # Spawned, not forked: ctranslate2 may already have threads in this process.
    context = multiprocessing.get_context("spawn")
    barrier, seen = context.Barrier(2), context.SimpleQueue()
    processes = [context.Process(target=_export_and_look, args=(directory, barrier, seen)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)

    assert [process.exitcode for process in processes] == [0, 0]
    assert [seen.get() for _ in processes] == [CT2_FILES, CT2_FILES]
    assert {path.name for path in tmp_path.iterdir()} == {"ct2", ".ct2.lock"}


def _export_and_look(directory: Path, barrier: Barrier, seen: "SimpleQueue[set[str]]") -> None:
    barrier.wait(timeout=60)
    seen.put({path.name for path in export_ct2(directory).iterdir()})
