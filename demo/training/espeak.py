"""espeak-ng in this process, through ctypes: speech at 16 kHz with the times of its words and phonemes."""

import ctypes
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

SAMPLE_RATE = 16000
NORMAL_RATE_WPM = 175
AUDIBLE = 0.004
LEAD_SAMPLES, TAIL_SAMPLES = 320, 480
SHORTEST_WORD_S = 0.04

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_UTF8 = 1
_CHARACTERS = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_END_OF_EVENTS, _WORD_EVENT, _PHONEME_EVENT = 0, 1, 7
_STRESS_MARKS = "',:;|_%=# ~*^\""


@dataclass(frozen=True)
class SpokenWord:
    """A word, with the punctuation that follows it, and its times in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """
    A spoken text without silence at its ends.

    `audio` has shape (n,), float32 in [-1, 1], 16 kHz; `phonemes` are (name, start in seconds).
    """

    audio: NDArray[np.float32]
    words: tuple[SpokenWord, ...]
    phonemes: tuple[tuple[str, float], ...]


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """One speaker; espeak-ng keeps its state in globals, so make one in each process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        self._clear()
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(
        self,
        text: str,
        voice: str = "en-us",
        *,
        rate_wpm: int = NORMAL_RATE_WPM,
        pitch: int = 50,
        pitch_range: int = 50,
    ) -> Utterance | None:
        """
        Speak *text*.

        Args:
            text: A sentence.
            voice: A voice's name, with a variant after `+` if wanted: `en-us+f3`.
            rate_wpm: Words a minute.
            pitch: 0 to 99.
            pitch_range: 0 to 99.

        Returns:
            The speech; `None` when nothing could be heard.

        Raises:
            ValueError: espeak-ng has no such voice.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            message = f"espeak-ng has no voice {voice}"
            raise ValueError(message)
        for parameter, value in ((_RATE, rate_wpm), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._clear()
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(
            ctypes.c_char_p(encoded), ctypes.c_size_t(len(encoded)), 0, _CHARACTERS, 0, _UTF8, None, None
        )
        self._library.espeak_Synchronize()

        audio = self._audio()
        audible = np.flatnonzero(np.abs(audio) > AUDIBLE)
        if not len(audible):
            return None
        begin = max(0, int(audible[0]) - LEAD_SAMPLES)
        stop = min(len(audio), int(audible[-1]) + TAIL_SAMPLES)
        origin = begin / SAMPLE_RATE
        return Utterance(
            audio=audio[begin:stop],
            words=self._words(text, origin, stop / SAMPLE_RATE),
            phonemes=tuple((name.strip(_STRESS_MARKS), max(0.0, at - origin)) for name, at in self._phoneme_starts),
        )

    def _clear(self) -> None:
        self._chunks: list[NDArray[np.int16]] = []
        self._word_starts: list[tuple[int, float]] = []
        self._phoneme_starts: list[tuple[str, float]] = []

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        if count > 0 and wave:
            self._chunks.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        index = 0
        while events[index].type != _END_OF_EVENTS:
            event = events[index]
            at = event.audio_position_ms / 1000
            if event.type == _WORD_EVENT:
                self._word_starts.append((event.text_position, at))
            elif event.type == _PHONEME_EVENT:
                name = bytes(event.id.string).split(b"\0")[0].decode("utf-8", "replace")
                self._phoneme_starts.append((name, at))
            index += 1
        return 0

    def _audio(self) -> NDArray[np.float32]:
        audio = np.concatenate(self._chunks).astype(np.float32) / 32768
        divisor = gcd(self._rate, SAMPLE_RATE)
        resampled = resample_poly(audio, SAMPLE_RATE // divisor, self._rate // divisor)
        return np.asarray(resampled, np.float32)

    def _words(self, text: str, origin: float, end: float) -> tuple[SpokenWord, ...]:
        words = text.split()
        starts = _fill_gaps(words, self._known_starts(text, words), origin, end)
        ends = [*starts[1:], end]
        return tuple(
            SpokenWord(
                word,
                start := max(begin - origin, 0.0),
                max(min(stop, end) - origin, start + SHORTEST_WORD_S),
            )
            for word, begin, stop in zip(words, starts, ends, strict=True)
        )

    def _known_starts(self, text: str, words: list[str]) -> list[float | None]:
        """The start of each word that espeak-ng reported; its text positions count characters from 1."""
        starts: list[float | None] = []
        position = 0
        for word in words:
            position = text.index(word, position)
            inside = range(position + 1, position + 1 + len(word))
            starts.append(next((at for reported, at in self._word_starts if reported in inside), None))
            position += len(word)
        return starts


def _fill_gaps(words: list[str], known: list[float | None], origin: float, end: float) -> list[float]:
    """Give words that espeak-ng merged with the one before them a share of its time, by their length."""
    starts: list[float] = []
    index = 0
    while index < len(words):
        start = known[index]
        first = origin if start is None else start
        after = index + 1
        while after < len(words) and known[after] is None:
            after += 1
        following = known[after] if after < len(words) else None
        limit = end if following is None else following
        group = [len(word) for word in words[index:after]]
        starts += [first + (limit - first) * sum(group[:n]) / sum(group) for n in range(len(group))]
        index = after
    return starts
