"""What happens after a span has failed: whether it is tried again, when, and what its client is told."""

import errno

import pytest

from transcription.errors import BlobMissing, CorruptAudio, DiskFull, EngineFailed, MurmurationError, ScratchFailed
from transcription.retry import GiveUp, History, Patience, Retry, classified, decide

PATIENCE = Patience(max_attempts=3, platform_s=3600.0)


def after(error: Exception, attempt: int = 1, *, jitter: float = 0.0, **history: float) -> Retry | GiveUp:
    return decide(error, History(attempt=attempt, **history), PATIENCE, jitter=jitter)  # type: ignore[arg-type]


def test_pauses_between_attempts_of_the_engine_grow_up_to_half_a_minute() -> None:
    pauses = []
    for attempt in range(1, 9):
        step = decide(
            EngineFailed("boom"), History(attempt=attempt), Patience(max_attempts=100, platform_s=1), jitter=0.9
        )
        assert isinstance(step, Retry)
        pauses.append(step.delay_s)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_what_the_file_itself_is_wrong_with_is_final_at_the_first_attempt() -> None:
    step = after(CorruptAudio("no sound in it"))
    assert isinstance(step, GiveUp)
    assert (step.failure.code, step.failure.message, step.failure.retryable) == (
        "corrupt_audio",
        "no sound in it",
        False,
    )


@pytest.mark.parametrize(("attempt", "given_up"), [(1, False), (2, False), (3, True), (4, True)])
def test_attempts_of_the_engine_end_where_the_setting_says(attempt: int, given_up: bool) -> None:
    step = after(EngineFailed("boom"), attempt)
    assert isinstance(step, GiveUp) is given_up
    assert (step.failure.code, step.failure.retryable) == ("engine_failed", True)


def test_an_error_that_nobody_foresaw_is_the_engines_and_says_what_it_was() -> None:
    step = after(ZeroDivisionError("by zero " * 200), 3)
    assert isinstance(step, GiveUp)
    assert step.failure.code == "engine_failed"
    assert step.failure.message.startswith("ZeroDivisionError: by zero")
    assert len(step.failure.message) <= 500


@pytest.mark.parametrize("error", [BlobMissing("not here"), ScratchFailed("no disk"), OSError(errno.EIO, "i/o error")])
def test_fault_of_the_platform_is_tried_again_whatever_the_attempts_until_patience_ends(error: Exception) -> None:
    for attempt in (1, 3, 50):
        assert isinstance(after(error, attempt, faults=attempt, faulting_s=3599.0), Retry)
    assert isinstance(after(error, 1, faults=9, faulting_s=3600.0), GiveUp)


def test_pauses_of_the_platform_double_up_to_five_minutes_and_spans_do_not_come_back_together() -> None:
    def pauses(jitter: float) -> list[float]:
        steps = [after(ScratchFailed("no disk"), faults=faults, jitter=jitter) for faults in (0, 1, 2, 5, 8, 9, 40)]
        return [step.delay_s for step in steps if isinstance(step, Retry)]

    assert pauses(0.0) == [0.5, 1, 2, 16, 128, 150, 150]
    assert pauses(0.5) == [0.75, 1.5, 3, 24, 192, 225, 225]


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EIO, "scratch_failed")]
)
def test_what_the_system_refuses_is_named_by_what_is_wrong_with_the_worker(number: int, code: str) -> None:
    step = after(OSError(number, "refused"))
    assert step.failure.code == code
    assert "refused" in step.failure.message


def test_every_retry_says_what_it_is_for() -> None:
    error: MurmurationError = EngineFailed("boom")
    step = after(error)
    assert isinstance(step, Retry)
    assert (step.failure.code, step.failure.message) == ("engine_failed", "boom")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BlobMissing("audio x isn't in /srv/murmur/blobs; was it deleted?"), "…/blobs; was it deleted?"),
        (ScratchFailed("FileNotFoundError: [Errno 2] No such file: '/data/pcm/a.pcm'"), "'…/a.pcm'"),
        (OSError(errno.EIO, "i/o error", "/mnt/disk 1/x"), "…/disk 1/x"),
        (EngineFailed("model 'base' in /home/ada/.murmur/models/base can't be loaded"), "in …/base can't"),
        (EngineFailed("see https://hub.example/a/b/c for more"), "https://hub.example/a/b/c"),
        (EngineFailed("3/4 of it, and/or w/o a/b/c"), "3/4 of it, and/or w/o a/b/c"),
    ],
)
def test_a_client_is_not_told_where_things_lie_on_the_server(error: Exception, said: str) -> None:
    step = after(error, attempt=3, faulting_s=3600.0)
    assert said in step.failure.message
    for place in ("/srv", "/data", "/mnt", "/home"):
        assert place not in step.failure.message


def test_what_the_operating_system_refuses_is_told_with_its_own_words() -> None:
    full = classified(OSError(errno.ENOSPC, "No space left"))
    assert full.message == "a disk of the worker is full (OSError: [Errno 28] No space left)"
    assert isinstance(full, DiskFull)
    assert full.retry_after_s == 60
    sick = classified(OSError(errno.EIO, "i/o error"))
    assert sick.message == "the worker's disk or network failed (OSError: [Errno 5] i/o error)"
