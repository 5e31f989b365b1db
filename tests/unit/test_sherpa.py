"""What sherpa-onnx's process may do to the worker, with a library in its place that does the worst."""

import time
from pathlib import Path

import numpy as np
import pytest

from tests import sound
from transcription.errors import EngineFailed, ModelUnavailable
from worker.diarizers import sherpa
from worker.diarizers.clustering import Speakers

LIBRARY = """
import os, time

class Part:
    def __init__(self, *_, **fields):
        if os.environ.get("LIBRARY") == "dies":
            os.write(2, b"a word of warning\\n" * 100_000 + b"no such model")
            os._exit(255)
        self.__dict__.update(fields)

    def validate(self):
        return True

    def set_config(self, _):
        pass

    def process(self, samples, callback):
        os.write(1, b"a word of warning\\n" * 100_000)
        callback(1, 2)
        while os.environ.get("LIBRARY") == "hangs":
            time.sleep(60)
        return self

    def sort_by_start_time(self):
        return []

def __getattr__(name):
    return Part
"""
SOUND = np.full(160, 0.1, np.float32)


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sherpa_onnx.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sherpa, "POLL_S", 0.05)


def load(directory: Path) -> sherpa.SherpaDiarizer:
    return sherpa.SherpaDiarizer(directory, name="sherpa", threads=1, threshold=0.5)


class Patience:
    """Ends a test that would wait for ever, as the worker would."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + 60

    def __call__(self) -> None:
        assert time.monotonic() < self._ends


def test_library_that_has_much_to_say_is_never_stopped_by_that(tmp_path: Path) -> None:
    found = load(tmp_path).diarize_recording(sound.recording(SOUND), Speakers(), check=Patience())
    assert found.turns == ()


def test_library_that_hangs_fails_its_span_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diarizer = load(tmp_path)
    monkeypatch.setenv("LIBRARY", "hangs")
    monkeypatch.setattr(sherpa, "STAGE_S", 0.2)
    with pytest.raises(EngineFailed, match="has said nothing for"):
        diarizer.diarize_recording(sound.recording(SOUND), Speakers(), check=Patience())


def test_last_words_of_a_library_that_ends_its_process_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBRARY", "dies")
    with pytest.raises(ModelUnavailable, match="exit status 255: no such model"):
        load(tmp_path)
