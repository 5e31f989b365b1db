"""How long the ledger took to answer, added up so cheaply that a status poll doesn't feel it."""

from bisect import bisect_left

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the classes, in seconds; one more holds what took longer."""


class AnswerTimes:
    """
    Answers' durations by class, until somebody takes them away.

    For one thread, or under a lock of the caller's: a counter of Prometheus' client takes a lock for each observation,
    and ten times as long.
    """

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count an answer that took so long."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._seconds += seconds

    def take(self) -> tuple[list[int], float]:
        """What was counted since the last time: answers of each class, shape (len(BOUNDS_S) + 1,), and all seconds."""
        taken = self._counts, self._seconds
        self._counts, self._seconds = [0] * (len(BOUNDS_S) + 1), 0.0
        return taken
