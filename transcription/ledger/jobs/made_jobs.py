"""Jobs made of the ledger's rows, each once for as long as its row stays the same."""

from collections.abc import Sequence
from typing import Any

from transcription.job import Job

REMEMBERED = 2048
"""Jobs that one process keeps; each takes some 8 kB."""


class MadeJobs:
    """
    Remembers the jobs that were read last, by what the ledger said of them.

    It never answers instead of the ledger: a job that was changed, named anew or deleted has another row, or none. So
    whoever polls a job that has ended, or doesn't move, gets the same value again, and what was made of that stays
    good too.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._made: dict[str, tuple[Sequence[Any], Job]] = {}

    def get(self, job_id: str, row: Sequence[Any]) -> Job | None:
        """The job that was made of the same row, None where there is none."""
        made = self._made.pop(job_id, None)
        if made is None or made[0] != row:
            return None
        self._made[job_id] = made  # the last one used is the last to go
        return made[1]

    def put(self, row: Sequence[Any], job: Job) -> None:
        """Remember *job*, made of *row*."""
        self._made[job.id] = row, job
        if len(self._made) > self._most:
            del self._made[next(iter(self._made))]
