"""The diarizer of sherpa-onnx, in a process of its own: its C++ ends the process on a model that it can't use."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from transcription.errors import EngineFailed, ModelUnavailable
from transcription.media.audio import FULL_SCALE
from transcription.media.recording import Recording
from transcription.spans import Span
from transcription.speakers import Diarized
from worker.diarizers.clustering import Speakers
from worker.diarizers.overlaps import turns_of

SEGMENTATION, EMBEDDING = "segmentation.onnx", "embedding.onnx"
"""What its directory holds: pyannote's segmentation and a speaker-embedding network, with sherpa-onnx's metadata."""

BLOCK = 1 << 20
POLL_S = 0.5
LAST_BYTES = 4096
LOAD_S = 600.0
STAGE_S = 600.0
"""
For which the child may say nothing: while it loads its models; at work, beside the recording's own length. Its stages
that tell of no progress take a fraction of that, and only one that hangs takes longer.
"""

_SAID = 300


class SherpaDiarizer:
    """Runs a child for each recording, and ends it when nobody wants the result any more. Threads may share it."""

    def __init__(self, directory: Path, *, name: str, threads: int, threshold: float) -> None:
        """
        Load the two models of *directory* once, in a child, to see that they can be used.

        Raises:
            ModelUnavailable: they can't.
        """
        self.name = name
        self._threshold = threshold
        self._asked = {
            "segmentation": str(directory / SEGMENTATION),
            "embedding": str(directory / EMBEDDING),
            "threads": threads,
            "threshold": threshold,
        }
        child = _Child()
        try:
            child.begin(self._asked)
        finally:
            child.end()

    def diarize_recording(
        self, recording: Recording, speakers: Speakers, *, check: Callable[[], None] = lambda: None
    ) -> Diarized:
        """Who speaks when in a whole recording: see RecordingDiarizer."""
        child = _Child()
        try:
            child.begin(self._asked, check=check)
            found = child.hear(recording, speakers, check=check)
        finally:
            child.end()
        heard = [
            (part, int(speaker))
            for start, end, speaker in found["turns"]
            for part in recording.holes.placed([Span(max(0.0, start), min(end, recording.held_s))])
        ]
        turns, order = turns_of(heard)
        vectors = {int(speaker): tuple(vector) for speaker, vector in found["embeddings"].items()}
        width = max(map(len, vectors.values()), default=0)
        embeddings = tuple(vectors.get(speaker, (0.0,) * width) for speaker in order) if vectors else ()
        return Diarized(turns, embeddings, self._threshold)


class _Child:
    """One process: see `sherpa_child` for the other end."""

    def __init__(self) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  not a pipe, which would stop it when it is full
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.diarizers.sherpa_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def begin(self, asked: dict[str, Any], *, check: Callable[[], None] = lambda: None) -> None:
        """Have the models loaded. ModelUnavailable."""
        try:
            self._say(json.dumps(asked).encode() + b"\n")
            ready = self._line(check, within_s=LOAD_S)
        except _Gone as error:
            raise ModelUnavailable(f"sherpa-onnx can't use its models ({error})") from error
        if "error" in ready:
            raise ModelUnavailable(f"sherpa-onnx can't be used: {ready['error'][:_SAID]}")

    def hear(self, recording: Recording, speakers: Speakers, *, check: Callable[[], None]) -> dict[str, Any]:
        """Hand in the sound and wait for who speaks when. EngineFailed, and what *check* raises."""
        try:
            asked = {"samples": recording.size, "least": speakers.least, "most": speakers.most}
            self._say(json.dumps(asked).encode() + b"\n")
            for at in range(0, recording.size, BLOCK):
                check()
                block = np.rint(recording[at : at + BLOCK] * FULL_SCALE)
                self._say(block.astype("<i2").tobytes())
            within_s = STAGE_S + recording.held_s
            while "turns" not in (found := self._line(check, within_s=within_s)):
                if "error" in found:
                    raise EngineFailed(f"sherpa-onnx failed: {found['error'][:_SAID]}")
        except _Gone as error:
            raise EngineFailed(f"sherpa-onnx's process is of no more use ({error})") from error
        return found

    def end(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._words):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _say(self, content: bytes) -> None:
        try:
            assert self._process.stdin is not None  # noqa: S101  it was asked for
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except OSError as error:
            raise _Gone(self._last_words()) from error

    def _line(self, check: Callable[[], None], *, within_s: float) -> dict[str, Any]:
        """The next line that the child writes; *check* is called while it writes none. _Gone, after *within_s*, too."""
        ends = time.monotonic() + within_s
        assert self._process.stdout is not None  # noqa: S101  it was asked for
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(POLL_S):
                check()
                if time.monotonic() > ends:
                    raise _Gone(f"it has said nothing for {within_s:.0f} s")
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _Gone(self._last_words())
        check()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        """What the process said on its way out, and how it ended."""
        self._process.kill()
        self._process.wait()
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f"exit status {self._process.returncode}{': ' + lines[-1][:_SAID] if lines else ''}"


class _Gone(Exception):
    """The child isn't there any more, or hangs."""
