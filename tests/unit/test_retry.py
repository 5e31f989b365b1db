"""What happens after a span has failed: whether it is tried again, when, and what its client is told."""

import pytest

from transcription.errors import CorruptAudio, EngineFailed
from transcription.retry import GiveUp, History, Patience, Retry, decide


def test_pauses_between_attempts_grow_up_to_half_a_minute() -> None:
    pauses = []
    for attempt in range(1, 9):
        step = decide(
            EngineFailed("boom"), History(attempt=attempt), Patience(max_attempts=100, platform_s=60), jitter=0.5
        )
        assert isinstance(step, Retry)
        pauses.append(step.delay_s)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_what_the_file_itself_is_wrong_with_is_final_at_the_first_attempt() -> None:
    step = decide(
        CorruptAudio("no sound in it"), History(attempt=1), Patience(max_attempts=3, platform_s=60), jitter=0.5
    )
    assert isinstance(step, GiveUp)
    assert (step.failure.code, step.failure.message, step.failure.retryable) == (
        "corrupt_audio",
        "no sound in it",
        False,
    )


@pytest.mark.parametrize(("attempt", "given_up"), [(1, False), (2, False), (3, True), (4, True)])
def test_attempts_end_where_the_setting_says(attempt: int, given_up: bool) -> None:
    step = decide(EngineFailed("boom"), History(attempt=attempt), Patience(max_attempts=3, platform_s=60), jitter=0.5)
    assert isinstance(step, GiveUp) is given_up
    if isinstance(step, GiveUp):
        assert (step.failure.code, step.failure.retryable) == ("engine_failed", True)


def test_an_error_that_nobody_foresaw_is_the_engines_and_says_what_it_was() -> None:
    step = decide(
        ZeroDivisionError("by zero " * 200), History(attempt=3), Patience(max_attempts=3, platform_s=60), jitter=0.5
    )
    assert isinstance(step, GiveUp)
    assert step.failure.code == "engine_failed"
    assert step.failure.message.startswith("ZeroDivisionError: by zero")
    assert len(step.failure.message) <= 500
