"""Options: validated once, and the fingerprint that decides what is computed again."""

import pytest

from transcription.errors import InvalidOption, UnknownOption
from transcription.options import Decoding, Options, fingerprint, parse_options


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"language": "xx"}, "'xx' is no language that Whisper knows"),
        ({"temperature": "7"}, "less than or equal to 1 (got '7')"),
        ({"beam_size": 0}, "greater than or equal to 1"),
        ({"response_format": "pdf"}, "'srt'"),
        ({"vad_filter": "perhaps"}, "vad_filter"),
        ({"prompt": "x" * 4001}, "at most 4000 characters"),
        ({"ttl_s": 1}, "greater than or equal to 60"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_limit(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_options(fields)
    assert said in caught.value.message
    assert len(caught.value.message) < 400


def test_an_unknown_option_is_named_beside_those_there_are() -> None:
    with pytest.raises(UnknownOption, match=r"'langauge'; the options are .*language"):
        parse_options({"langauge": "en"})


@pytest.mark.parametrize("value", [None, "", "auto", "AUTO"])
def test_auto_and_nothing_mean_that_the_language_is_detected(value: str | None) -> None:
    given = None if value is None else value.lower()
    assert parse_options({"language": given}).language is None


def test_word_granularity_asks_for_word_timestamps() -> None:
    assert parse_options({"timestamp_granularities": "word"}).decoding().word_timestamps
    assert parse_options({"timestamp_granularities": ["segment", "word"]}).decoding().word_timestamps
    assert not parse_options({"timestamp_granularities": ["segment"]}).decoding().word_timestamps


def test_every_option_that_can_change_the_transcript_changes_the_fingerprint_and_no_other_does() -> None:
    other = {
        "language": "de",
        "task": "translate",
        "temperature": 0.5,
        "prompt": "before",
        "hotwords": "Zulu",
        "vad_filter": False,
        "word_timestamps": True,
        "beam_size": 1,
        "condition_on_previous_text": True,
        "normalize": True,
        "audio_track": "2",
        "segmentation": "words",
        "fast_short": True,
    }
    assert set(other) == set(Decoding.model_fields), "a new option needs a value here"
    plain = fingerprint("a" * 64, "demo", "r1", Options().decoding())
    names = [fingerprint("a" * 64, "demo", "r1", Options(**{name: value}).decoding()) for name, value in other.items()]  # type: ignore[arg-type]
    names += [fingerprint("b" * 64, "demo", "r1", Options().decoding())]
    names += [fingerprint("a" * 64, "base", "r1", Options().decoding())]
    names += [fingerprint("a" * 64, "demo", "r2", Options().decoding())]
    assert len({plain, *names}) == len(names) + 1
    same = parse_options({"priority": "batch", "response_format": "srt", "ttl_s": 60, "webhook_url": "http://x"})
    assert fingerprint("a" * 64, "demo", "r1", same.decoding()) == plain
