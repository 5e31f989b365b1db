"""The error tree is whole: every leaf has a code of its own and stands in the drawing; and what a retry decides."""

import pytest

from transcription import errors
from transcription.retry import GiveUp, Retry, decide


def test_every_leaf_has_its_own_code_and_stands_in_the_drawing() -> None:
    leaves = list(errors.leaves())
    assert len({leaf.code for leaf in leaves}) == len(leaves)
    for leaf in leaves:
        assert f"{leaf.__name__} " in (errors.__doc__ or "")
        assert leaf.code in (errors.__doc__ or "")


def test_a_retryable_error_is_tried_again_until_the_attempts_are_used_up() -> None:
    error = errors.EngineFailed("boom")
    first, second, third = (decide(error, attempt, max_attempts=3) for attempt in (1, 2, 3))
    assert isinstance(first, Retry)
    assert isinstance(second, Retry)
    assert second.delay_s > first.delay_s
    assert isinstance(third, GiveUp)
    assert third.failure.code == "engine_failed"


def test_audio_that_nobody_can_transcribe_is_given_up_at_once() -> None:
    verdict = decide(errors.CorruptAudio("nothing decoded"), 1, max_attempts=3)
    assert isinstance(verdict, GiveUp)
    assert not verdict.failure.retryable


@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("x" * 9000)])
def test_a_foreign_error_counts_as_the_engine_s_and_is_said_shortly(error: Exception) -> None:
    verdict = decide(error, 9, max_attempts=3)
    assert isinstance(verdict, GiveUp)
    assert verdict.failure.code == "engine_failed"
    assert len(verdict.failure.message) <= 500
