"""The sample recordings are what their references say they are."""

from itertools import pairwise

import pytest

from demo import SAMPLES
from demo.training.lexicon import WORDS


@pytest.mark.parametrize("name", SAMPLES)
def test_transcript_is_its_sentences_in_order(name: str) -> None:
    sample = SAMPLES[name]

    assert sample.transcript == " ".join(segment.text for segment in sample.segments)
    assert all(a.end < b.start for a, b in pairwise(sample.segments))
    assert all(0 <= segment.start < segment.end <= sample.duration_s for segment in sample.segments)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_word_spoken_is_in_the_closed_vocabulary(name: str) -> None:
    known = {word.lower() for word in WORDS}

    assert {word.strip(".?").lower() for word in SAMPLES[name].transcript.split()} <= known


def test_long_sample_pauses_long_enough_to_be_cut_there() -> None:
    segments = SAMPLES["long"].segments

    pauses = [after.start - before.end for before, after in pairwise(segments)]

    assert sum(pause > 3 for pause in pauses) == 4


def test_all_samples_together_stay_under_three_megabytes() -> None:
    assert sum(sample.path.stat().st_size for sample in SAMPLES.values()) < 3_000_000
