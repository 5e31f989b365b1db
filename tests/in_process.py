"""Judging uploads in the test's own process: for tests of what HTTP says, which needn't wait for a sandbox."""

from collections.abc import Callable
from pathlib import Path

from transcription.media.codecs.probe import probe
from transcription.media.findings import Probe
from transcription.settings import Settings


def look(settings: Settings) -> Callable[[Path], Probe]:
    """What `create_app` takes in place of its sandbox."""
    return lambda path: probe(path, max_duration_s=settings.limits.max_duration_s)
