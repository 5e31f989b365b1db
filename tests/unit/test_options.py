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


@pytest.mark.parametrize(
    "value",
    ["de,en", "de, en-US", "[de, en]", '["de","en"]', "german,english", ["de", "en"], ["EN", "deu", "de"], ("en,de",)],
)
def test_languages_are_read_in_every_way_that_clients_write_a_list(value: object) -> None:
    options = parse_options({"languages": value})
    assert options.languages == ("de", "en")
    assert options.possible_languages == ("de", "en")
    again = Options.model_validate_json(options.model_dump_json())
    assert again == options


def test_a_job_keeps_that_it_is_to_be_computed_anew_and_says_nothing_of_the_cache_otherwise() -> None:
    assert Options(cache="off").model_dump()["cache"] == "off"
    assert "cache" not in Options().model_dump(), "every job in the ledger would be longer by it"


@pytest.mark.parametrize("value", [None, "", "auto", [], ["auto"], "null"])
def test_no_language_in_the_list_leaves_all_of_them_possible(value: object) -> None:
    assert parse_options({"languages": value}).decoding() == Options().decoding()


def test_one_language_in_the_list_is_the_language() -> None:
    assert parse_options({"languages": "de"}).decoding() == parse_options({"language": "de"}).decoding()
    assert parse_options({"languages": "de", "multilingual": True}).possible_languages == ("de",)


def test_where_the_language_is_told_the_list_changes_nothing() -> None:
    told = parse_options({"language": "de", "languages": "de,en"})
    assert told.decoding() == parse_options({"language": "de"}).decoding()
    assert told.possible_languages == ("de",)


@pytest.mark.parametrize(
    ("fields", "possible"),
    [
        ({"multilingual": True}, ()),
        ({"multilingual": True, "language": "de"}, ()),
        ({"multilingual": True, "languages": "de,en"}, ("de", "en")),
        ({"multilingual": True, "language": "de", "languages": "de,en"}, ("de", "en")),
    ],
)
def test_recording_in_several_languages_needs_a_worker_for_all_that_may_come(
    fields: dict[str, object], possible: tuple[str, ...]
) -> None:
    assert parse_options(fields).possible_languages == possible


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"languages": "de,xx"}, "languages: 'xx' is no language"),
        ({"languages": ["de", 5]}, "languages: '5' is no language"),
        ({"languages": "de,en", "language": "fr"}, "languages: 'fr', the language, isn't among them (de, en)"),
        ({"multilingual": "perhaps"}, "multilingual"),
        ({"channels": "both"}, "channels: Input should be 'mix' or 'split'"),
        ({"channels": "split:2"}, "channels: Input should be 'mix' or 'split'"),
        ({"channels": 2}, "channels"),
        ({"channel_names": "agent,customer"}, "channel_names: needs channels=split"),
        ({"channels": "split", "channel_names": "a,a"}, "each channel needs a name of its own"),
        ({"channels": "split", "channel_names": ["x" * 101]}, "channel_names: String should have at most 100"),
        ({"channels": "split", "channel_names": ["a\nb"]}, "channel_names"),
        ({"channels": "split", "diarize": True}, "diarize: with channels=split"),
    ],
)
def test_languages_and_channels_that_make_no_sense_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_options(fields)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_speakers": 2}, "num_speakers: needs diarize=true"),
        ({"diarize": True, "num_speakers": 2, "max_speakers": 3}, "max_speakers can't be given as well"),
        ({"diarize": True, "min_speakers": 3, "max_speakers": 2}, "min_speakers: 3 is more than max_speakers, 2"),
        ({"diarize": True, "max_speakers": 51}, "less than or equal to 50"),
        ({"known_speakers": ["Anna"]}, "known_speakers: needs diarize=true"),
        ({"diarize": True, "known_speakers": ["Anna", "Anna"]}, "known_speakers: one name is there twice"),
        ({"diarize": True, "known_speakers": ["Anna", "Bob"], "max_speakers": 1}, "but 1 may speak at most"),
        ({"diarize": True, "known_speakers": ["Anna", "Bob"], "num_speakers": 1}, "but 1 may speak at most"),
        ({"audio_track": "0"}, "audio_track: must be a track's number from 1 on, or a language"),
        ({"audio_track": "-1"}, "audio_track: must be"),
        ({"deadline_s": 30 * 86400 + 1}, "less than or equal to 2592000"),
        ({"ttl_s": 30 * 86400 + 1}, "less than or equal to 2592000"),
        ({"beam_size": 11}, "less than or equal to 10"),
        ({"webhook_url": "ftp://receiver.test/"}, "must begin with http:// or https://"),
        ({"webhook_url": "https:///path"}, "name a host"),
        ({"webhook_url": "https://me:secret@receiver.test/"}, "hold no password"),
    ],
)
def test_speakers_tracks_and_limits_that_make_no_sense_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_options(fields)
    assert said in caught.value.message


def test_a_value_without_end_is_repeated_in_part_only() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_options({"priority": "x" * 100_000})
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("given", "same"), [("02", "2"), (2, "2"), (" en ", "en"), ("eng", "en"), ("English", "en"), ("MUL", "mul")]
)
def test_a_track_is_one_computation_however_it_is_asked_for(given: object, same: str) -> None:
    assert parse_options({"audio_track": given}).audio_track == same


@pytest.mark.parametrize("value", ["null", "none", "auto", " "])
def test_no_track_is_asked_for_in_every_way_that_clients_say_so(value: str) -> None:
    assert parse_options({"audio_track": value}).audio_track is None


def test_who_speaks_is_found_in_the_sound_that_is_transcribed() -> None:
    """What changes the sound, or which of several is heard, changes who speaks in it."""
    plain = parse_options({"diarize": True}).diarization()
    assert plain is not None
    other: list[dict[str, object]] = [
        {"num_speakers": 2}, {"min_speakers": 2}, {"max_speakers": 2}, {"normalize": True}, {"audio_track": "2"},
        {"language": "de"},
    ]  # fmt: skip
    found = [parse_options({"diarize": True, **fields}).diarization() for fields in other]
    names = {fingerprint("a" * 64, "voices", "r", one) for one in (plain, *found) if one is not None}
    assert len(names) == len(other) + 1
    assert parse_options({"language": "de"}).diarization() is None


def test_every_channel_is_a_computation_of_its_own() -> None:
    split = parse_options({"channels": "SPLIT", "channel_names": ["agent", " customer "]})
    assert split.channel_names == ("agent", "customer")
    assert [decoding.channel for decoding in split.decodings(3)] == [1, 2, 3]
    names = {fingerprint("a" * 64, "demo", "r1", decoding) for decoding in split.decodings(3)}
    assert len(names | {fingerprint("a" * 64, "demo", "r1", Options().decoding())}) == 4
    assert [decoding.channel for decoding in Options().decodings(3)] == [None]


def test_what_was_computed_before_there_were_these_options_keeps_its_fingerprint() -> None:
    known = "4631d238c0b8165e4194409fa98959d4633cf7000d16fc16488544262f13f589"
    assert fingerprint("a" * 64, "demo", "r", Options().decoding()) == known


@pytest.mark.parametrize("value", [None, "", " ", "auto", "AUTO", "detect", "undefined", "null", "none", "und"])
def test_auto_and_nothing_mean_that_the_language_is_detected(value: str | None) -> None:
    assert parse_options({"language": value}).language is None


def test_word_granularity_asks_for_word_timestamps() -> None:
    assert parse_options({"timestamp_granularities": "word"}).decoding().word_timestamps
    assert parse_options({"timestamp_granularities": ["segment", "word"]}).decoding().word_timestamps
    assert parse_options({"timestamp_granularities": '["Word"]'}).decoding().word_timestamps
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
        "languages": ("de", "fr"),
        "multilingual": True,
        "channels": "split",
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


@pytest.mark.parametrize("name", ["prompt", "hotwords"])
def test_blank_text_is_no_text_and_shares_a_computation_with_it(name: str) -> None:
    assert Options.model_validate({name: " \n"}).decoding() == Options().decoding()
    assert getattr(Options.model_validate({name: " a "}), name) == " a "
