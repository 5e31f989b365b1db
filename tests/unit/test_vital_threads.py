"""A worker's process ends with any thread of it that dies, and a row's error leaves its neighbours alone."""

import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from transcription.errors import EngineFailed
from transcription.options import Decoding
from worker.batcher import Key
from worker.engines.row import Context, Row
from worker.engines.stages import Stage, Stages
from worker.health.vital_threads import EXIT_THREAD_DIED


def test_process_ends_with_a_reason_when_a_thread_of_it_dies() -> None:
    program = (
        "import threading, time\n"
        "from worker.health import vital_threads\n"
        "vital_threads.watch()\n"
        "threading.Thread(target=lambda: 1 / 0, name='keeper', daemon=True).start()\n"
        "time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_THREAD_DIED
    assert "keeper" in ended.stdout + ended.stderr
    assert "ZeroDivisionError" in ended.stdout + ended.stderr


class Stumbling(Stages):
    """Goes through the first rows of a batch, and fails at the last one."""

    def _decode(self, rows: Sequence[Row]) -> list[Key | None]:
        for row in rows[:-1]:
            row.attempts.append(SimpleNamespace(tokens=(1,)))  # type: ignore[arg-type]
            row.segments.append(SimpleNamespace(text=" once"))  # type: ignore[arg-type]
            row.context.add([7])
            row.seek, row.encoding = 3000, None
        raise ValueError("an odd row")


def test_rows_stay_as_they_were_when_a_later_one_of_their_batch_fails() -> None:
    model: Any = SimpleNamespace(model=SimpleNamespace(device="cpu"))
    stages = Stumbling(model, encode_batch=1, decode_batch=4, encoder=SimpleNamespace())  # type: ignore[arg-type]
    rows = [row(), row()]
    encodings = [one.encoding for one in rows]
    with pytest.raises(EngineFailed):
        stages.compute(Key(Stage.DECODE), rows)
    for one, encoding in zip(rows, encodings, strict=True):  # fine: there are two
        assert (one.attempts, one.segments, one.seek) == ([], [], 0)
        assert one.encoding is encoding
        assert one.context.tokens() == [1, 2]


def row() -> Row:
    tokenizer: Any = SimpleNamespace()
    zeros = np.zeros((80, 3000), np.float32)
    context = Context([1, 2], grows=True)
    return Row(zeros, 3000, tokenizer, Decoding(), context, b"", encoding=np.zeros((1, 1500, 8), np.float32))
