"""What a model in torch is asked and answers; of numbers alone, so that whoever asks needn't load torch."""

from dataclasses import dataclass

LONG = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """
    How to write a window down.

    ``prompt`` ends with the token that the first one follows, ``start`` is where the transcript's start mark is in it.
    Above ``temperature`` 0 as many texts as ``width`` are drawn, else so many beams are searched.
    """

    prompt: tuple[int, ...]
    start: int
    width: int
    temperature: float
    timed: bool
    limit: int

    @property
    def begins(self) -> int:
        """The first token that a step reads: long prompts are read at once up to their last one, short ones are not."""
        return len(self.prompt) - 1 if len(self.prompt) > LONG else 0


@dataclass(frozen=True, slots=True)
class Generated:
    """What a window's decoding came to, named as in CTranslate2."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What a loaded model is.

    ``slots`` windows are written together, ``batch`` encoded or aligned, and ``callers`` threads keep it busy;
    ``start`` is the id of the mark that a transcript starts with.
    """

    device: str
    compute_type: str
    mels: int
    multilingual: bool
    start: int
    slots: int
    batch: int
    callers: int
