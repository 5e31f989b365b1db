"""The diarizer of pyannote.audio 4, for GPUs: a whole recording at once by a pipeline as `community-1`."""

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["PYANNOTE_METRICS_ENABLED"] = "false"  # before its import: nothing here reports home

import numpy as np
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that torchcodec is missing: it would decode, and is given sound that is decoded
    from pyannote.audio import Pipeline

from transcription.errors import EngineFailed, ModelUnavailable, MurmurationError
from transcription.media.audio import RATE
from transcription.media.recording import Recording
from transcription.spans import Span
from transcription.speakers import Diarized
from worker.diarizers.clustering import Speakers
from worker.diarizers.overlaps import turns_of

POLL_S = 0.5


class PyannoteDiarizer:
    """Runs one pipeline, one recording at a time. It holds all of a recording's sound in memory: 230 MB for an hour."""

    def __init__(self, source: str, *, name: str, device: str, cache: Path, threshold: float) -> None:
        """
        Load a pipeline.

        Args:
            source: A directory with a `config.yaml`, or a repository on the hub.
            name: What computes, to the bit.
            device: `auto`, `cpu` or `cuda`.
            cache: Where what comes from the hub is kept.
            threshold: Cosine distance up to which two voices are one speaker's, by which known ones are recognised.

        Raises:
            ModelUnavailable: it can't be loaded.
        """
        self.name = name
        self._threshold = threshold
        self._turn = threading.Lock()
        where = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        try:
            pipeline = Pipeline.from_pretrained(source, cache_dir=str(cache))
            self._pipeline = pipeline and pipeline.to(torch.device(where))
        except Exception as error:  # its and the hub's errors have no common base
            raise ModelUnavailable(f"pyannote's pipeline {source} can't be loaded: {str(error)[:300]}") from error
        if self._pipeline is None:
            raise ModelUnavailable(f"pyannote's pipeline {source} isn't there, or its conditions weren't accepted")

    def diarize_recording(
        self, recording: Recording, speakers: Speakers, *, check: Callable[[], None] = lambda: None
    ) -> Diarized:
        """Who speaks when in a whole recording: see RecordingDiarizer."""
        asked = {"min_speakers": speakers.least, "max_speakers": speakers.most}
        if speakers.least == speakers.most:
            asked = {"num_speakers": speakers.most}
        file = {"waveform": torch.from_numpy(recording[:])[None], "sample_rate": RATE}
        while not self._turn.acquire(timeout=POLL_S):
            check()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # too few speakers, too short a chunk: the result says it as well
                found = self._pipeline(file, **asked, hook=lambda *_, **__: check())
        except MurmurationError:
            raise
        except Exception as error:
            raise EngineFailed(f"pyannote's pipeline failed: {str(error)[:300]}") from error
        finally:
            self._turn.release()
        return self._read(found, recording)

    def _read(self, found: Any, recording: Recording) -> Diarized:
        annotation, embeddings = found.speaker_diarization, found.speaker_embeddings
        labels = {label: number for number, label in enumerate(annotation.labels())}
        heard = [
            (part, labels[label])
            for segment, _, label in annotation.itertracks(yield_label=True)
            for part in recording.holes.placed([Span(max(0.0, segment.start), min(segment.end, recording.held_s))])
        ]
        turns, order = turns_of(heard)
        if embeddings is None or not len(embeddings):
            return Diarized(turns)
        vectors = np.nan_to_num(np.asarray(embeddings, np.float64))[list(order)]
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return Diarized(turns, tuple(map(tuple, vectors.tolist())), self._threshold)
