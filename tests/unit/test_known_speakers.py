"""Known speakers: who of those that were told apart is like whose sample."""

import random
from itertools import combinations, permutations

import pytest

from transcription.known_speakers import assigned, recognized
from transcription.speakers import Diarized, Turn

EAST, NORTH, WEST, NORTH_EAST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.8, 0.6)


def heard(*voices: tuple[float, float], threshold: float = 0.5) -> Diarized:
    return Diarized(tuple(Turn(n, n + 1, n) for n in range(len(voices))), voices, threshold)


def sample(voice: tuple[float, float]) -> Diarized:
    return heard(voice)


def test_speakers_are_called_by_the_names_of_the_samples_they_sound_like() -> None:
    assert recognized(heard(EAST, NORTH), [("Nora", sample(NORTH)), ("Eva", sample(EAST))]) == {"A": "Eva", "B": "Nora"}


def test_stranger_stays_a_stranger() -> None:
    assert recognized(heard(EAST, WEST), [("Eva", sample(EAST))]) == {"A": "Eva"}
    assert recognized(heard(WEST), [("Eva", sample(EAST))]) == {}


def test_two_speakers_who_are_like_one_sample_are_not_both_called_so() -> None:
    assert recognized(heard(NORTH_EAST, EAST), [("Eva", sample(EAST))]) == {"B": "Eva"}


def test_two_samples_that_are_like_one_speaker_name_him_once() -> None:
    named = recognized(heard(EAST), [("Nell", sample(NORTH_EAST)), ("Eva", sample(EAST))])
    assert named == {"A": "Eva"}


def test_stranger_whose_label_is_a_known_name_gets_another_label() -> None:
    assert recognized(heard(EAST, WEST), [("B", sample(EAST))]) == {"A": "B", "B": "C"}
    assert recognized(heard(EAST, WEST, NORTH), [("C", sample(EAST)), ("D", sample(WEST))]) == {
        "A": "C",
        "B": "D",
        "C": "E",
    }


def test_nobody_is_recognized_where_voices_are_not_known() -> None:
    assert recognized(Diarized((Turn(0, 1, 0),)), [("Eva", sample(EAST))]) == {}
    assert recognized(heard(EAST), [("Eva", Diarized())]) == {}
    assert recognized(Diarized(), [("Eva", sample(EAST))]) == {}
    assert recognized(heard((0.0, 0.0)), [("Eva", sample(EAST))]) == {}


def test_speaker_who_never_speaks_takes_no_name() -> None:
    found = Diarized((Turn(0, 1, 1),), (EAST, NORTH_EAST), 0.5)
    assert recognized(found, [("Eva", sample(EAST))]) == {"B": "Eva"}


def best(gains: list[list[float]]) -> float:
    """The largest sum of all possible pairings."""
    rows, columns = range(len(gains)), range(len(gains[0]) if gains else 0)
    sums = [0.0]
    for count in range(1, min(len(rows), len(columns)) + 1):
        for some in combinations(rows, count):
            sums += [
                sum(gains[row][column] for row, column in zip(some, others, strict=True))
                for others in permutations(columns, count)
            ]
    return max(sums)


@pytest.mark.parametrize("seed", range(40))
def test_pairs_are_those_that_gain_the_most_together(seed: int) -> None:
    rng = random.Random(seed)
    rows, columns = rng.randint(0, 4), rng.randint(1, 5)
    gains = [[rng.uniform(-1, 1) for _ in range(columns)] for _ in range(rows)]
    pairs = assigned(gains)
    assert len(set(pairs.values())) == len(pairs)
    assert all(gains[row][column] > 0 for row, column in pairs.items())
    assert sum(gains[row][column] for row, column in pairs.items()) == pytest.approx(best(gains))
