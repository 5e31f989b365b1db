"""Lanes: what a computation needs of a worker, and what a worker has; the claim script brings them together."""

from collections.abc import Collection, Iterable, Mapping

ANY_LANGUAGE = "language=*"

SPEAKERS = "speakers:"
"""What the names of diarizers begin with where models are named; voices have no language."""


def lane(model: str, *, languages: Iterable[str] = (), needs: Mapping[str, str]) -> str:
    """
    Name the queue of a computation.

    Args:
        model: What computes it.
        languages: ISO 639-1 codes of those that may come up; none: any may, which takes a worker for any.
        needs: What else its worker must have: `engine`, `device`.

    Returns:
        The model, and each need on a line of its own.
    """
    lines = [f"language={language}" for language in sorted(languages)]
    return "\n".join([model, *lines, *(f"{kind}={value}" for kind, value in sorted(needs.items()))])


def needed(lane: str) -> tuple[str, tuple[str, ...]]:
    """The model of a lane, and what else it needs of a worker, as `device=cuda`."""
    model, *needs = lane.split("\n")
    return model, tuple(needs)


def traits(*, engine: str, device: str, languages: Iterable[str]) -> tuple[str, ...]:
    """What a worker has, as lanes ask for it; no *languages* are all of them."""
    spoken = tuple(f"language={language}" for language in languages) or (ANY_LANGUAGE,)
    return (f"engine={engine}", f"device={device}", *spoken)


def suits(lane: str, *, models: Collection[str], traits: Collection[str]) -> bool:
    """Whether a worker has all that a lane asks for, as the claim script sees it."""
    model, needs = needed(lane)
    any_language = ANY_LANGUAGE in traits
    spoken_needs = [need for need in needs if need.startswith("language=")]
    spoken = (
        any_language
        or model.startswith(SPEAKERS)
        or (bool(spoken_needs) and all(need in traits for need in spoken_needs))
    )
    return model in models and spoken and all(need in traits for need in needs if need not in spoken_needs)
