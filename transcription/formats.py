"""A transcript in the six shapes that clients ask for."""

from collections.abc import Callable
from typing import Any

from transcription.languages import LANGUAGES
from transcription.options import ResponseFormat
from transcription.result_warning import one_line
from transcription.transcript import Segment, Transcript, Word

CONTENT_TYPES = {
    ResponseFormat.JSON: "application/json",
    ResponseFormat.VERBOSE_JSON: "application/json",
    ResponseFormat.TEXT: "text/plain; charset=utf-8",
    ResponseFormat.SRT: "application/x-subrip; charset=utf-8",
    ResponseFormat.VTT: "text/vtt; charset=utf-8",
    ResponseFormat.TSV: "text/tab-separated-values; charset=utf-8",
}
EXTENSIONS = {
    ResponseFormat.JSON: "json",
    ResponseFormat.VERBOSE_JSON: "json",
    ResponseFormat.TEXT: "txt",
    ResponseFormat.SRT: "srt",
    ResponseFormat.VTT: "vtt",
    ResponseFormat.TSV: "tsv",
}


def as_json(transcript: Transcript) -> dict[str, Any]:
    """The text, who wrote it, and what it lacks: ``{text, language, duration, model, warnings}``; seconds."""
    return {
        "text": transcript.text,
        "language": transcript.language,
        "duration": _ms(transcript.duration),
        "model": transcript.model,
        "warnings": warnings_of(transcript),
    }


def as_verbose_json(transcript: Transcript) -> dict[str, Any]:
    """OpenAI's ``verbose_json``: the language by its English name; ``words`` only where they were asked for."""
    shape: dict[str, Any] = {
        "task": transcript.task,
        "language": LANGUAGES.get(transcript.language or "", transcript.language),
        "language_probability": transcript.language_probability,
        "duration": _ms(transcript.duration),
        "model": transcript.model,
        "text": transcript.text,
        "segments": [_segment(index, segment) for index, segment in enumerate(transcript.segments)],
        "warnings": warnings_of(transcript),
    }
    if transcript.words or any(segment.words is not None for segment in transcript.segments):
        shape["words"] = [_word(word) for segment in transcript.segments for word in segment.words or ()]
    return shape


def warnings_of(transcript: Transcript) -> list[dict[str, Any]]:
    """What a transcript lacks, as JSON has it."""
    return [warning.shape() for warning in transcript.warnings]


def as_text(transcript: Transcript) -> str:
    """One line for each segment; where speakers or channels were asked for it begins with the name."""
    return "".join(f"{_voice_prefix(segment)}{' '.join(segment.text.split())}\n" for segment in transcript.segments)


def as_srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, times with a comma before the milliseconds; a speaker's or channel's name comes first."""
    cues = (
        f"{index}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{one_line(_voice_prefix(s) + s.text)}\n"
        for index, s in enumerate(transcript.segments, start=1)
    )
    return "\n".join(cues)


def as_vtt(transcript: Transcript) -> str:
    """
    WebVTT, after https://www.w3.org/TR/webvtt1/; ``&``, ``<`` and ``>`` are escaped. Warnings are comments.

    A speaker or a channel is a voice span, ``<v Anna>``.
    """
    notes = "".join(f"\nNOTE warning: {one_line(warning.line)}\n" for warning in transcript.warnings)
    cues = (
        f"\n{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{_voice(s)}{_escape(one_line(s.text))}\n"
        for s in transcript.segments
    )
    return "WEBVTT\n" + notes + "".join(cues)


def as_tsv(transcript: Transcript) -> str:
    """
    Start and end in milliseconds, and the text, tab-separated under a header, as openai-whisper writes it.

    The speaker, or the channel, comes as a fourth column, and only where that was asked for.
    """
    by_channel = any(segment.channel is not None for segment in transcript.segments)
    column = "channel" if by_channel else "speaker"
    named = by_channel or any(segment.speaker is not None for segment in transcript.segments)
    lines = (
        f"{round(s.start * 1000)}\t{round(s.end * 1000)}\t{' '.join(s.text.split())}"
        + (f"\t{one_line(s.voice or '')}\n" if named else "\n")
        for s in transcript.segments
    )
    return f"start\tend\ttext{chr(9) + column if named else ''}\n" + "".join(lines)


WRITERS: dict[ResponseFormat, Callable[[Transcript], dict[str, Any] | str]] = {
    ResponseFormat.JSON: as_json,
    ResponseFormat.VERBOSE_JSON: as_verbose_json,
    ResponseFormat.TEXT: as_text,
    ResponseFormat.SRT: as_srt,
    ResponseFormat.VTT: as_vtt,
    ResponseFormat.TSV: as_tsv,
}


def _segment(index: int, segment: Segment) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": index,
        "seek": round(segment.start * 100),
        "start": _ms(segment.start),
        "end": _ms(segment.end),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
        "low_confidence": segment.low_confidence,
        "doubtful": segment.low_confidence,  # its name until 0.1; goes with 0.3
    }
    if segment.words is not None:
        shape["words"] = [_word(word) for word in segment.words]
    return shape | told(segment) | _spoken(segment)


def told(segment: Segment) -> dict[str, Any]:
    """Its language and its channel; nothing where nobody asked."""
    shape = {"language": segment.language, "channel": segment.channel, "channel_name": segment.channel_name}
    return {name: value for name, value in shape.items() if value is not None}


def _word(word: Word) -> dict[str, Any]:
    shape = {"word": word.word, "start": _ms(word.start), "end": _ms(word.end), "probability": word.probability}
    return shape | _spoken(word)


def _spoken(part: Segment | Word) -> dict[str, Any]:
    """Who says it; nothing where nobody asked."""
    return {} if part.speaker is None else {"speaker": part.speaker, "overlap": part.overlap}


def _voice_prefix(segment: Segment) -> str:
    return "" if segment.voice is None else f"{one_line(segment.voice)}: "


def _voice(segment: Segment) -> str:
    return "" if segment.voice is None else f"<v {_escape(one_line(segment.voice))}>"


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, mark: str) -> str:
    total = max(0, round(seconds * 1000))
    hours, rest = divmod(total, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, millis = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{mark}{millis:03}"
