"""A transcript in six shapes."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transcription.formats import (
    CONTENT_TYPES,
    EXTENSIONS,
    WRITERS,
    as_json,
    as_srt,
    as_text,
    as_tsv,
    as_verbose_json,
    as_vtt,
)
from transcription.options import ResponseFormat
from transcription.result_warning import ResultWarning, WarningCode
from transcription.transcript import Segment, Transcript, Word, merge


def transcript(*segments: Segment) -> Transcript:
    return Transcript(
        segments=segments, language="de", language_probability=0.98, duration=3725.5, task="transcribe", model="demo"
    )


TALK = transcript(
    Segment(0.0, 1.25, " Guten Tag.", words=(Word(0.0, 0.5, " Guten", 0.9), Word(0.6, 1.25, " Tag.", 0.8))),
    Segment(3723.004, 3725.5, " Eins --> <zwei>\n& drei."),
)

HOLE = ResultWarning(code=WarningCode.DAMAGED, message="a hole", start=3.0, seconds=2.0)


def test_srt_numbers_its_cues_and_writes_hours() -> None:
    assert as_srt(TALK) == (
        "1\n00:00:00,000 --> 00:00:01,250\nGuten Tag.\n\n2\n01:02:03,004 --> 01:02:05,500\nEins -> <zwei> & drei.\n"
    )


def test_vtt_escapes_what_would_be_markup() -> None:
    assert as_vtt(TALK) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nGuten Tag.\n"
        "\n01:02:03.004 --> 01:02:05.500\nEins -&gt; &lt;zwei&gt; &amp; drei.\n"
    )


def test_tsv_is_in_milliseconds() -> None:
    assert as_tsv(TALK).splitlines()[:2] == ["start\tend\ttext", "0\t1250\tGuten Tag."]


def test_verbose_json_names_the_language_in_english_and_has_words_where_they_were_asked_for() -> None:
    shape = as_verbose_json(TALK)
    assert (shape["language"], shape["duration"]) == ("german", 3725.5)
    assert [word["word"] for word in shape["words"]] == [" Guten", " Tag."]
    assert [segment["id"] for segment in shape["segments"]] == [0, 1]
    assert "words" not in as_verbose_json(transcript(Segment(0, 1, " x")))


CALL = transcript(
    Segment(0.0, 1.0, " Hello.", channel=1, channel_name="Agent <1>"),
    Segment(0.5, 2.0, " Tag.", channel=2, language="de"),
)


def test_every_format_says_the_channel_by_its_name_or_its_number() -> None:
    assert as_text(CALL) == "Agent <1>: Hello.\nChannel 2: Tag.\n"
    assert "\nAgent <1>: Hello.\n" in as_srt(CALL)
    assert "\nChannel 2: Tag.\n" in as_srt(CALL)
    assert "\n<v Agent &lt;1&gt;>Hello.\n" in as_vtt(CALL)
    assert "\n<v Channel 2>Tag.\n" in as_vtt(CALL)
    assert as_tsv(CALL) == "start\tend\ttext\tchannel\n0\t1000\tHello.\tAgent <1>\n500\t2000\tTag.\tChannel 2\n"
    first, second = as_verbose_json(CALL)["segments"]
    assert (first["channel"], first["channel_name"], "language" in first) == (1, "Agent <1>", False)
    assert (second["channel"], second["language"], "channel_name" in second) == (2, "de", False)
    assert "speaker" not in first
    assert not {"channel", "language"} & set(as_verbose_json(TALK)["segments"][0])


def test_formats_with_room_for_it_say_who_speaks_and_whether_over_others() -> None:
    named = Segment(0.0, 1.0, " Hello.", speaker="Anna", words=(Word(0.0, 1.0, " Hello.", 0.9, "Anna", overlap=True),))
    talk = transcript(named, Segment(1.0, 2.0, " Who?"))
    assert as_tsv(talk) == "start\tend\ttext\tspeaker\n0\t1000\tHello.\tAnna\n1000\t2000\tWho?\t\n"
    first, second = as_verbose_json(talk)["segments"]
    assert (first["speaker"], first["overlap"], first["words"][0]["overlap"]) == ("Anna", False, True)
    assert "speaker" not in second


def test_silence_is_valid_in_every_format() -> None:
    empty = transcript()
    assert as_json(empty)["text"] == ""
    assert as_srt(empty) == ""
    assert as_vtt(empty) == "WEBVTT\n"


def test_every_format_has_a_writer_a_type_and_an_extension() -> None:
    assert set(WRITERS) == set(CONTENT_TYPES) == set(EXTENSIONS) == set(ResponseFormat)


@settings(deadline=None)
@given(st.text() | st.text("-> \n"), st.floats(0, 1e6))
@example("a ---> b", 0.0)
def test_no_text_breaks_a_cue_out_of_its_place(text: str, start: float) -> None:
    talk = transcript(Segment(start, start + 1, text))
    assert as_srt(talk).count("-->") == 1
    assert as_vtt(talk).count("-->") == 1
    assert len(as_srt(talk).rstrip("\n").split("\n\n")) == 1


def test_merged_spans_are_in_the_order_of_time() -> None:
    first, second = Segment(0, 1, " a"), Segment(5, 6, " b")
    assert merge([[second], [first]]) == (first, second)


def test_times_are_rounded_to_the_nearest_millisecond_in_every_shape_that_has_them() -> None:
    fine = transcript(Segment(0.0006, 1.9996, " Ja."), Segment(2.0004, 59.9995, " Nein."))
    assert "00:00:00,001 --> 00:00:02,000" in as_srt(fine)
    assert "00:00:02.000 --> 00:01:00.000" in as_vtt(fine)
    assert as_tsv(fine).splitlines()[1:] == ["1\t2000\tJa.", "2000\t60000\tNein."]


def test_tsv_has_the_milliseconds_of_both_ends_of_every_segment() -> None:
    assert as_tsv(TALK).splitlines()[2].split("\t")[:2] == ["3723004", "3725500"]


def test_json_is_the_text_whose_it_is_and_what_it_lacks() -> None:
    assert as_json(replace(TALK, duration=3725.50049, warnings=(HOLE,))) == {
        "text": "Guten Tag. Eins --> <zwei>\n& drei.",
        "language": "de",
        "duration": 3725.5,
        "model": "demo",
        "warnings": [HOLE.shape()],
    }


def test_verbose_json_tells_all_that_is_known_of_each_segment_and_word() -> None:
    said = Segment(
        1.23456, 2.49951, " Ja.", tokens=(7, 8), temperature=0.2, avg_logprob=-0.3, compression_ratio=1.1,
        no_speech_prob=0.04, words=(Word(1.23456, 2.49951, " Ja.", 0.9),), low_confidence=True,
    )  # fmt: skip
    word = {"word": " Ja.", "start": 1.235, "end": 2.5, "probability": 0.9}
    assert as_verbose_json(replace(transcript(said), duration=2.49951, warnings=(HOLE,))) == {
        "task": "transcribe",
        "language": "german",
        "language_probability": 0.98,
        "duration": 2.5,
        "model": "demo",
        "text": "Ja.",
        "segments": [
            {
                "id": 0, "seek": 123, "start": 1.235, "end": 2.5, "text": " Ja.", "tokens": [7, 8], "temperature": 0.2,
                "avg_logprob": -0.3, "compression_ratio": 1.1, "no_speech_prob": 0.04, "low_confidence": True,
                "doubtful": True, "words": [word],
            }
        ],
        "warnings": [HOLE.shape()],
        "words": [word],
    }  # fmt: skip


def test_language_that_is_not_known_by_name_stays_its_code() -> None:
    assert as_verbose_json(replace(TALK, language="xx"))["language"] == "xx"
    assert as_verbose_json(replace(TALK, language=None))["language"] is None


def test_words_that_were_asked_for_are_an_empty_list_where_nothing_was_said() -> None:
    assert as_verbose_json(replace(transcript(), words=True))["words"] == []


def test_vtt_tells_what_is_lacking_as_a_comment() -> None:
    assert as_vtt(replace(transcript(Segment(0, 1, " Ja.")), warnings=(HOLE, HOLE))) == (
        "WEBVTT\n" + 2 * "\nNOTE warning: damaged at 3.0 s: a hole\n" + "\n00:00:00.000 --> 00:00:01.000\nJa.\n"
    )


def test_a_tab_in_the_text_makes_no_column() -> None:
    assert as_tsv(transcript(Segment(0, 1, " a\tb\t"))).splitlines()[1] == "0\t1000\ta b"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x0b", "\n\n"])
def test_an_end_of_line_in_the_text_makes_no_line(end: str) -> None:
    talk = transcript(Segment(0, 1, f" a{end}b{end}"))
    assert as_tsv(talk) == "start\tend\ttext\n0\t1000\ta b\n"
    assert as_text(talk) == "a b\n"
