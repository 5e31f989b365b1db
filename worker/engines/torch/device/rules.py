"""What may come next: Whisper's rules of times and suppressed ids, for all rows at once, on the device."""

import torch
from torch import Tensor

from worker.engines.marks import LATEST_FIRST_TIMESTAMP, Marks


class Rules:
    """
    Times come in pairs, one round each segment, and never go back; they are written as soon as all of them together
    beat every word. Some ids are never written, some not at first.
    """

    def __init__(self, marks: Marks, suppressed: tuple[int, ...], suppressed_first: tuple[int, ...], device: str):
        """Lay the tables out on *device*."""
        self._marks = marks
        self._never = _penalty(marks.size, suppressed, device)
        self._not_first = _penalty(marks.size, suppressed_first, device)
        self._times = torch.arange(marks.timestamps, marks.size, device=device)

    def apply(
        self, logits: Tensor, *, first: Tensor, timed: Tensor, last: Tensor, before: Tensor, latest: Tensor
    ) -> None:
        """
        Set what may not come to minus infinity.

        Args:
            logits: Shape (rows, ids); changed in place.
            first: Whether a row's next token is its first.
            timed: Whether a row writes times.
            last: Whether its last token was a time.
            before: Whether the one before that was, or there is none.
            latest: Its latest time, 0 for none.
        """
        marks = self._marks
        logits += self._never
        logits += torch.where((first & ~timed)[:, None], self._not_first, 0.0)
        words, times = logits[:, : marks.timestamps], logits[:, marks.timestamps :]
        words[:, -1].masked_fill_(timed, -torch.inf)
        begins, goes_on = timed & first, timed & ~first
        too_late = begins[:, None] & (self._times > marks.timestamps + LATEST_FIRST_TIMESTAMP)
        gone = (goes_on[:, None] & (self._times < latest[:, None])) | (goes_on & last & before)[:, None]
        times.masked_fill_(too_late | gone, -torch.inf)
        # A time that opens or closes nothing yet wants its partner, or the end.
        words[:, : marks.end].masked_fill_((goes_on & last & ~before)[:, None], -torch.inf)
        asked = goes_on & ~(last & before)
        certain = asked & (times.logsumexp(-1) > words.amax(-1))
        words.masked_fill_((certain | begins)[:, None], -torch.inf)


def _penalty(size: int, banned: tuple[int, ...], device: str) -> Tensor:
    table = torch.zeros(size, device=device)
    table[[identifier for identifier in banned if 0 <= identifier < size]] = -torch.inf
    return table
