"""
Channels: `python -m bench.speech.channels --each 10`.

Calls with a speaker on each channel, through the platform's decoder and its merge: words in another's channel, and
cpWER with the channels as speakers (meeteval). A call may leak: each channel then holds the others too, so much
quieter. Needs espeak-ng, and besides the worker's packages meeteval.
"""

import argparse
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import meeteval
import numpy as np
from numpy.typing import NDArray

from bench.speech.conversations import Conversation, converse
from bench.speech.models import engine_of, plain
from demo.training.espeak import Espeak
from tests import audio_files, sound
from transcription.channels import Channel, joined
from transcription.media.recording import Recording
from transcription.options import Decoding
from transcription.spans import windows
from transcription.transcript import Transcript, Word
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.engines.base import Engine

LEAKS_DB = (None, -40, -30, -20)


@dataclass(frozen=True, slots=True)
class Score:
    """A call's words: all that were heard, those of another's channel, and errors (cpWER)."""

    heard: int
    astray: int
    errors: int
    spoken: int


def call(conversation: Conversation, leak_db: float | None) -> NDArray[np.int16]:
    """The call's samples, shape (n, channels)."""
    channels = conversation.channels
    if leak_db is not None:
        channels = channels + np.float32(10 ** (leak_db / 20)) * (channels.sum(axis=0) - channels)
    return np.rint(np.clip(channels, -1, 1).T * 32767).astype(np.int16)


def transcribe(engine: Engine, path: Path, count: int) -> Transcript:
    """What the platform makes of a file whose channels are transcribed by themselves."""
    parts = []
    for number in range(1, count + 1):
        recording = sound.decoded(path, limit_s=3600, channel=number)
        channel = Channel(number=number, computation="", same_as=recording.same_as)
        parts.append((channel, _transcribed(engine, recording)))
    return joined(parts)


def _transcribed(engine: Engine, recording: Recording) -> Transcript:
    groups = windows(detect_speech(recording))
    found = engine.transcribe(
        (Window.joined(group, recording.cut) for group in groups),
        Decoding(word_timestamps=True),
        language="en",
        owner="call",
        cancelled=lambda: False,
    )
    segments = tuple(segment for window in found for segment in window)
    return Transcript(
        segments=segments, language="en", language_probability=None, duration=recording.duration_s, task="transcribe",
        model="demo",
    )  # fmt: skip


def score(conversation: Conversation, transcript: Transcript) -> Score:
    """Compare what was heard in each channel with who spoke there."""
    words: dict[int, list[Word]] = defaultdict(list)
    for segment in transcript.segments:
        words[segment.channel or 1] += segment.words or ()
    astray = sum(_astray(conversation, channel, own) for channel, own in words.items())
    said: dict[str, list[str]] = defaultdict(list)
    for one in conversation.said:
        said[one.speaker].append(plain(one.text))
    heard: dict[str, list[str]] = defaultdict(list)
    for segment in transcript.segments:
        heard[str(segment.channel)].append(plain(segment.text))
    rate = meeteval.wer.cp_word_error_rate(_texts(said), _texts(heard))
    return Score(sum(map(len, words.values())), astray, rate.errors, rate.length)


def _texts(parts: dict[str, list[str]]) -> dict[str, str]:
    return {who: " ".join(texts) for who, texts in parts.items()}


def _astray(conversation: Conversation, channel: int, words: list[Word]) -> int:
    """Words of a channel that its speaker didn't say, in whose middle only another speaks."""
    own = conversation.names[channel - 1]
    said = [word for one in conversation.said if one.speaker == own for word in plain(one.text).split()]
    heard = [plain(word.word).strip() for word in words]
    theirs = set(range(len(words)))
    for block in SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks():
        theirs -= set(range(block.b, block.b + block.size))
    return sum(_only_another_speaks(conversation, own, words[number]) for number in theirs)


def _only_another_speaks(conversation: Conversation, own: str, word: Word) -> bool:
    middle = (word.start + word.end) / 2
    speaking = {one.speaker for one in conversation.said if one.start <= middle <= one.end}
    return bool(speaking) and own not in speaking


def measure(engine: Engine, *, each: int, seed: int) -> list[str]:
    """The rows of the table."""
    speaker, rows = Espeak(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.wav"
        for leak in LEAKS_DB:
            scores = []
            for count in (2, 3):
                for number in range(each):
                    conversation = converse(speaker, seed + number, "overlap", count)
                    path.write_bytes(audio_files.wav_of(call(conversation, leak), rate=16_000))
                    scores.append(score(conversation, transcribe(engine, path, count)))
            rows.append(_row("none" if leak is None else f"{leak} dB", scores))
    return rows


def _row(name: str, scores: list[Score]) -> str:
    heard, astray = sum(one.heard for one in scores), sum(one.astray for one in scores)
    errors = sum(one.errors for one in scores) / sum(one.spoken for one in scores)
    return f"| {name} | {len(scores)} | {heard:,} | {astray} ({astray / heard:.2%}) | {errors:.1%} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=10, help="calls of 2 and of 3 speakers")
    parser.add_argument("--seed", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(engine_of(Path(folder), "demo"), each=args.each, seed=args.seed)
    print("| leak | calls | words heard | in another's channel | cpWER |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
