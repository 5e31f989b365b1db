"""The values of a job: what is an end, and how far it is."""

import pytest

from transcription.job import Progress, Status


@pytest.mark.parametrize("status", list(Status))
def test_only_what_waits_or_runs_can_still_change(status: Status) -> None:
    assert status.terminal is (status not in (Status.QUEUED, Status.PROCESSING))


@pytest.mark.parametrize(
    ("done", "total", "fraction"), [(0, 0, 0.0), (5, 0, 0.0), (0, 10, 0.0), (5, 10, 0.5), (10, 10, 1.0), (12, 10, 1.0)]
)
def test_progress_is_a_share_of_what_is_known_and_never_more_than_all(done: int, total: int, fraction: float) -> None:
    assert Progress(audio_seconds_done=done, audio_seconds_total=total).fraction == fraction
