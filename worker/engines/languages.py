"""Languages: which one a window is in, by the model's probabilities and by what was spoken before it."""

from collections.abc import Collection, Mapping

from transcription.errors import InvalidOption

RATIO = 3.0
"""So many times as probable as the language spoken until now another must be to take over."""


def among(found: Mapping[str, float], languages: Collection[str]) -> dict[str, float]:
    """
    The probabilities of those that it can be, adding up to 1.

    Args:
        found: Probability of each language that the model knows, by ISO 639-1 code.
        languages: What it can be; none: any, and *found* as it is.

    Raises:
        InvalidOption: the model knows none of *languages*.
    """
    if not languages:
        return dict(found)
    known = {code: found[code] for code in languages if code in found}
    if not known:
        raise InvalidOption(f"languages: this model knows none of {', '.join(sorted(languages))}")
    total = sum(known.values())
    return {code: p / total if total else 1 / len(known) for code, p in known.items()}


def most_probable(chances: Mapping[str, float]) -> tuple[str, float]:
    """The language that it is, and its probability."""
    return max(chances.items(), key=lambda pair: pair[1])


def following(before: str, chances: Mapping[str, float]) -> str:
    """
    The language of a window after one in the language *before*.

    With hysteresis: a window that could be either, as one of music, names or a few words, changes nothing.
    """
    language, chance = most_probable(chances)
    return language if chance >= RATIO * chances.get(before, 0.0) else before
