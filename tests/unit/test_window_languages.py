"""Which language a window is in."""

import pytest

from transcription.errors import InvalidOption
from worker.engines.languages import among, following, most_probable


def test_language_is_one_of_those_that_it_can_be() -> None:
    found = {"en": 0.6, "nl": 0.3, "de": 0.1}
    assert most_probable(among(found, ("de", "nl"))) == ("nl", pytest.approx(0.75))
    assert most_probable(among(found, ())) == ("en", 0.6)


def test_languages_that_the_model_gives_no_chance_at_all_are_equal() -> None:
    assert among({"en": 1.0, "de": 0.0, "fr": 0.0}, ("de", "fr")) == {"de": 0.5, "fr": 0.5}


def test_model_that_knows_none_of_the_languages_says_so() -> None:
    with pytest.raises(InvalidOption, match="languages: this model knows none of yue"):
        among({"en": 1.0}, ("yue",))


def test_window_that_could_be_either_changes_nothing() -> None:
    assert following("en", {"en": 0.45, "de": 0.55}) == "en"
    assert following("de", {"en": 0.55, "de": 0.45}) == "de"
    assert following("en", {"en": 0.1, "de": 0.9}) == "de"
    assert following("fr", {"en": 0.1, "de": 0.9}) == "de"
