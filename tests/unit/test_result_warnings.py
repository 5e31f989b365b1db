"""Warnings: a few of each kind stand for all there were, and none breaks the text around it."""

import math
from typing import Any

import pytest

from transcription.result_warning import (
    MOST_CHARACTERS,
    MOST_OF_A_CODE,
    ResultWarning,
    WarningCode,
    WarningList,
    parsed,
    warning_codes,
)

DAMAGED = {"code": "damaged", "message": "lost"}


def listed(*warnings: ResultWarning) -> list[ResultWarning]:
    found = WarningList()
    for warning in warnings:
        found.add(warning)
    return list(found)


def damaged(start: float, **what: Any) -> ResultWarning:
    return ResultWarning(code=WarningCode.DAMAGED, message="lost", start=start, **what)


def test_last_of_a_few_stands_for_all_further_ones_with_what_they_lack() -> None:
    found = listed(*(damaged(float(n), seconds=0.5, bytes=10) for n in range(MOST_OF_A_CODE + 2)))
    assert [one.count for one in found] == [1] * (MOST_OF_A_CODE - 1) + [3]
    assert (found[-1].start, found[-1].seconds, found[-1].bytes) == (MOST_OF_A_CODE - 1, 1.5, 30)
    assert found[-1].line == "damaged at 7.0 s: lost (3 times)"


def test_warnings_are_in_the_order_of_time_those_of_the_whole_first() -> None:
    whole = ResultWarning(code=WarningCode.OTHER_TRACKS, message="others")
    early = ResultWarning(code=WarningCode.SKIPPED, message="stuck", start=0.0)
    assert listed(damaged(5.0), early, whole) == [whole, early, damaged(5.0)]
    assert early.line == "skipped at 0.0 s: stuck"
    assert warning_codes([damaged(1.0), damaged(2.0), whole]) == "damaged, other_tracks"


def test_message_is_one_short_line_that_no_format_takes_for_anything_else() -> None:
    (found,) = parsed([DAMAGED | {"message": "a ---> b\n\n\x1b[31m" + "x" * 5000}])
    assert found.message.startswith("a -> b [31mxxx")
    assert len(found.message) == MOST_CHARACTERS


@pytest.mark.parametrize(
    "odd",
    [
        {"code": "of a later version"}, {"start": "soon"}, {"start": -1.0}, {"seconds": math.nan}, {"seconds": 1e300},
        {"count": "many"}, {"bytes": math.inf},
    ],
)  # fmt: skip
def test_shape_that_is_not_understood_costs_no_other_warning(odd: dict[str, Any]) -> None:
    assert [one.start for one in parsed([DAMAGED | odd, {}, DAMAGED | {"start": 2}])] == [2.0]


def test_warning_comes_back_from_its_shape_and_stands_for_one_place_at_least() -> None:
    warning = damaged(1.2344, seconds=2.0006, count=2)
    assert warning.shape() == DAMAGED | {"start": 1.234, "seconds": 2.001, "count": 2}
    assert parsed([warning.shape()])[0].count == 2
    assert parsed([DAMAGED | {"count": -3}])[0].count == 1
