"""Which of a file's audio tracks is transcribed."""

import pytest

from transcription.errors import InvalidOption
from transcription.tracks import MOST_NAMED, Track, choose, parsed


def track(number: int, language: str | None = None, *, default: bool = False) -> Track:
    return Track(number=number, codec="aac", channels=2, sample_rate=48_000, language=language, default=default)


FILM = (track(1, "en"), track(2, "de"), track(3, "en", default=True), track(4, "tlh"))


@pytest.mark.parametrize(
    ("wanted", "language", "number"),
    [
        (None, None, 3),  # the default one
        (None, "de", 2),  # the only one in it
        (None, "en", 3),  # of two in it the default one, as where nothing is asked
        (None, "fr", 3),
        ("1", "de", 1),  # what is named counts
        ("en", None, 3),  # of two in a language the default one, not the commentary
        ("English", None, 3),
        ("DE", None, 2),
        ("tlh", None, 4),  # a tag that Whisper has no language for
    ],
)
def test_a_track_is_taken_by_its_number_its_language_or_as_the_file_says(
    wanted: str | None, language: str | None, number: int
) -> None:
    assert choose(FILM, wanted=wanted, language=language).number == number


def test_of_tracks_of_which_none_is_the_default_the_first_is_taken_and_of_two_in_a_language_none_is_guessed() -> None:
    plain = (track(1, "de"), track(2, "en"), track(3, "en"))
    assert choose(plain, wanted=None, language=None).number == 1
    assert choose(plain, wanted=None, language="en").number == 1
    assert choose(plain, wanted="en", language=None).number == 2


@pytest.mark.parametrize("wanted", ["5", "0", "fr", "\u00b2", "\u0663", "", "-1", "1.0"])
def test_what_names_no_track_is_refused_with_those_there_are(wanted: str) -> None:
    with pytest.raises(InvalidOption, match="it has 1 en, 2 de, 3 en, 4 tlh"):
        choose(FILM, wanted=wanted, language=None)


def test_of_tracks_that_a_decoder_reports_what_can_not_be_is_left_out_and_the_rest_is_short() -> None:
    good = {"number": 1, "codec": "x" * 99, "channels": 2, "sample_rate": 8000, "title": "t" * 999}
    (found,) = parsed([good, {"number": "one"}, {**good, "channels": None}, {}])
    assert (len(found.codec), len(found.title or "")) == (40, 80)
    assert len(parsed([good] * 99)) == MOST_NAMED
