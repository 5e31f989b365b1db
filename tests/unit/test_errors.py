"""The error tree is whole: every leaf has a code of its own and stands in the drawing; and what a retry decides."""

import errno
import os

import pytest

from transcription import errors
from transcription.retry import GiveUp, History, Patience, Retry, decide


def test_every_leaf_has_its_own_code_and_stands_in_the_drawing() -> None:
    leaves = list(errors.leaves())
    assert len({leaf.code for leaf in leaves}) == len(leaves)
    for leaf in leaves:
        assert f"{leaf.__name__} " in (errors.__doc__ or "")
        assert leaf.code in (errors.__doc__ or "")


PATIENCE = Patience(max_attempts=3, platform_s=3600)


def after(error: Exception, attempt: int = 1, *, faults: int = 0, faulting_s: float = 0.0) -> Retry | GiveUp:
    history = History(attempt=attempt, faults=faults, faulting_s=faulting_s)
    return decide(error, history, PATIENCE, jitter=0.5)


def test_an_engine_s_error_is_tried_again_until_the_attempts_are_used_up() -> None:
    first, second, third = (after(errors.EngineFailed("boom"), attempt) for attempt in (1, 2, 3))
    assert isinstance(first, Retry)
    assert isinstance(second, Retry)
    assert second.delay_s > first.delay_s
    assert isinstance(third, GiveUp)
    assert third.failure.code == "engine_failed"


def test_audio_that_nobody_can_transcribe_is_given_up_at_once() -> None:
    verdict = after(errors.CorruptAudio("nothing decoded"))
    assert isinstance(verdict, GiveUp)
    assert not verdict.failure.retryable
    assert verdict.failure.fault is errors.Fault.INPUT


@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("x" * 9000)])
def test_a_foreign_error_counts_as_the_engine_s_and_is_said_shortly(error: Exception) -> None:
    verdict = after(error, 9)
    assert isinstance(verdict, GiveUp)
    assert verdict.failure.code == "engine_failed"
    assert len(verdict.failure.message) <= 500


PLATFORMS = [
    errors.BlobMissing("not here"),
    errors.StorageUnavailable("no bucket", retry_after_s=1),
    errors.ModelUnavailable("no weights"),
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EIO, os.strerror(errno.EIO)),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
]


@pytest.mark.parametrize("error", PLATFORMS, ids=lambda error: type(error).__name__ + str(error)[:20])
def test_a_fault_of_the_platform_uses_up_no_attempt_and_waits_longer_each_time_until_its_patience_ends(
    error: Exception,
) -> None:
    pauses = []
    for faults in range(20):
        verdict = after(error, 99, faults=faults, faulting_s=faults)
        assert isinstance(verdict, Retry)
        assert verdict.failure.fault is errors.Fault.PLATFORM
        pauses.append(verdict.delay_s)
    assert pauses == sorted(pauses)
    assert pauses[0] <= 1
    assert pauses[-1] <= 300
    last = after(error, faulting_s=3600)
    assert isinstance(last, GiveUp)
    assert last.failure.retryable


def test_everything_that_can_become_a_dead_letter_says_what_to_do() -> None:
    for leaf in errors.leaves(errors.ComputeError):
        if leaf not in (errors.LeaseLost, errors.NameTaken, errors.Stopped):
            assert errors.advice(leaf.code) == leaf.advice != ""
    assert errors.advice("disk_full")
    assert errors.advice("storage_unavailable")
