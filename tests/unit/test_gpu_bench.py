"""`bench/engines/gpu.sh`: ten minutes on a card that nobody gets twice, so it must not lose what it has measured."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.engines.gpu.record import RESULTS, kept
from bench.engines.gpu.table import lines
from tests.platform import eventually

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench/engines/gpu.sh"
PYTHON = """\
#!/bin/bash
# Stands for Python: notes what it is to do, and does what the test says of each row.
case "$*" in
  *bench.engines.gpu.table*) echo "| made after |" $(wc -l < "$OUT/asked"); exit 0 ;;
  "-m bench.engines.gpu "*) echo "$3" >> "$OUT/asked" ;;
  *) exit 0 ;;
esac
case "$3" in
  breaks) echo "Traceback: it broke" >&2; exit 1 ;;
  hangs) exec sleep 1000 ;;
  deaf) trap '' TERM; while :; do sleep 0.05; done ;;
esac
"""


class Script:
    """The script with a Python that measures nothing."""

    def __init__(self, scratch: Path) -> None:
        self.out, self._python = scratch / "out", scratch / "python3"
        self._python.write_text(PYTHON)
        self._python.chmod(0o755)

    def run(self, rows: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "OUT": str(self.out), "PYTHON": str(self._python), "GPU_BENCH": "tiny", "GPU_ROWS": rows}
        return subprocess.run(
            ["bash", str(SCRIPT)], env=env | environment, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def asked(self) -> list[str]:
        return (self.out / "asked").read_text().split()

    @property
    def errors(self) -> str:
        return (self.out / "errors.txt").read_text()


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_a_row_that_breaks_or_hangs_keeps_no_other_from_being_measured(script: Script) -> None:
    ran = script.run("breaks hangs fine", GPU_ROW_SECONDS="1")
    assert ran.returncode == 0, ran.stderr
    assert script.asked == ["prepare", "breaks", "hangs", "fine"]
    assert "breaks ended with 1\n" in script.errors
    assert "Traceback: it broke" in script.errors
    assert "hangs ended with 124: its 1 s were over" in script.errors
    assert "fine ended" not in script.errors


def test_rows_for_which_no_time_is_left_are_named_and_the_table_is_there(script: Script) -> None:
    ran = script.run("fine more", GPU_SECONDS="14")
    assert script.asked == ["prepare"]
    assert "no time left for fine and what follows" in script.errors
    assert "| made after | 1" in ran.stdout


def test_without_models_nothing_is_measured_and_that_is_said(script: Script) -> None:
    broken = PYTHON.replace('case "$3" in', 'case "$3" in\n  prepare) exit 3 ;;')
    script._python.write_text(broken)
    script.run("fine")
    assert script.asked == ["prepare"]
    assert "prepare ended with 3" in script.errors
    assert "without models and recordings there is nothing to measure" in script.errors


def test_a_run_that_is_killed_leaves_the_table_of_the_rows_before(script: Script) -> None:
    env = {**os.environ, "OUT": str(script.out), "PYTHON": str(script._python), "GPU_BENCH": "tiny"}
    with subprocess.Popen(["bash", str(SCRIPT)], env=env | {"GPU_ROWS": "fine hangs"}, start_new_session=True) as ran:
        eventually(lambda: (script.out / "asked").exists() and "hangs" in script.asked, 20)
        begun = psutil.Process(ran.pid).children(recursive=True)
        os.killpg(ran.pid, signal.SIGKILL)
        for process in begun:  # fine: `timeout` has a group of its own, and would wait for its row
            with suppress(psutil.NoSuchProcess):
                process.kill()
    assert (script.out / "table.md").read_text() == "| made after | 2\n"


@pytest.mark.parametrize(("cut", "left"), [(0, 3), (1, 3), (17, 2), (40, 2)])
def test_what_was_cut_off_in_the_middle_of_a_line_is_left_out(tmp_path: Path, cut: int, left: int) -> None:
    rows = [{"what": "measured", "label": f"row {number}", "win_s": number} for number in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / RESULTS).write_text(text[: len(text) - cut])
    assert [row["label"] for row in kept(tmp_path)] == ["row 0", "row 1", "row 2"][:left]
    assert list(kept(tmp_path / "nowhere")) == []


def table(*rows: dict[str, Any]) -> str:
    return "\n".join(lines(rows))


def test_the_table_shows_what_was_only_begun_and_what_failed() -> None:
    said = table(
        {"what": "measured", "label": "whole", "size": "large", "win_s": 31.0, "gpu_busy": 0.0, "clips": 5},
        {"what": "partial", "label": "whole", "size": "large", "win_s": 12.0, "clips": 2},
        {"what": "partial", "label": "half", "size": "large", "win_s": 7.0, "clips": 3},
        {"what": "partial", "label": "half", "size": "large", "win_s": 8.0, "clips": 4},
        {"what": "partial", "label": "not one", "size": "large", "win_s": 0.0},
        {"what": "partial", "label": "bad", "size": "large", "win_s": 9.0, "clips": 6},
        {"what": "failed", "label": "bad", "size": "large", "error": "RuntimeError: no"},
        {"what": "check", "label": "cuda float16", "same": "24 of 24", "words_off_s": 0.02},
        {"what": "bare loop", "batch": 64, "beams": 5, "win_s": 61.0, "ms_step": 15.1},
    )
    assert "| whole | large |  |  | 31.0 | 0.0 |" in said
    assert "| half (broken off after 4 clips) | large |  |  | 8.0 |" in said
    assert "| bad (failed after 6 clips) | large |  |  | 9.0 |" in said
    assert "bad (large) failed: RuntimeError: no" in said
    assert "12.0" not in said
    assert "not one" not in said
    assert "cuda float16: the CPU's tokens in 24 of 24" in said
    assert "64 windows × 5 beams: 61.0 windows/s" in said


MEASURING = """
import sys, threading
from pathlib import Path
from bench.engines.gpu import measurement
from bench.speech.corpus import Clip

measurement.EVERY_S = 0.02
numbers = iter(range(99))

def task(path):
    if next(numbers) == 3:
        if sys.argv[1] == "breaks":
            raise RuntimeError("the card fell off")
        threading.Event().wait()
    return "one two", 1

measurement.measured("row", task, [Clip(Path("x"), "one three", 1.0)] * 8, 1, size="demo")
"""


def measuring(out: Path, how: str) -> Sequence[str]:
    out.mkdir()
    return [sys.executable, "-c", MEASURING, how]


def test_a_measurement_that_is_killed_leaves_how_far_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(measuring(out, "hangs"), cwd=ROOT, env={**os.environ, "OUT": str(out)}) as ran:
        eventually(lambda: any(row.get("clips") == 3 for row in kept(out)), 30)
        ran.kill()
    (row,) = [line for line in lines(kept(out)) if line.startswith("| row (")]
    assert row.startswith("| row (broken off after 3 clips) | demo |")
    assert row.endswith("| 3 of 6 |")


def test_a_measurement_that_breaks_says_so_and_what_follows_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = subprocess.run(
        measuring(out, "breaks"), cwd=ROOT, env={**os.environ, "OUT": str(out)}, check=False, timeout=60
    )
    assert ran.returncode == 0
    assert "row (demo) failed: RuntimeError: the card fell off" in "\n".join(lines(kept(out)))


# Some ten seconds: it is the whole script with a real engine, and a GPU that it fails on is one that was lent in vain.
def test_the_whole_script_measures_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = {"GPU_BENCH": "tiny", "GPU_SIZES": "demo", "GPU_CLIPS": "1", "GPU_ROWS": "nonsense ct2"}
    env = {**os.environ, **few, "OUT": str(out), "GPU_WORK": str(tmp_path), "PYTHON": sys.executable}
    ran = subprocess.run(["bash", str(SCRIPT)], env=env, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    written = (out / "table.md").read_text()
    measured = [line for line in written.splitlines() if line.startswith("| ours, faster_whisper, beam 5, words")]
    assert len(measured) == 2, ran.stdout + (out / "errors.txt").read_text()
    assert all("| demo |" in line for line in measured)
    assert "there is no row 'nonsense'" in (out / "errors.txt").read_text()
    assert "nonsense ended with 1" in (out / "errors.txt").read_text()
