"""
Who spoke: `python -m bench.speech.speakers --each 4`.

Conversations of 2 to 6 held-out voices, clean, with overlaps and with noise, through the worker's diarizer: diarization
error rate (pyannote.metrics, no collar, overlaps scored) and the number of speakers; with `--words` through a widened
demo model as well: cpWER (meeteval), and the cost beside that of transcribing. Needs espeak-ng, and besides the
worker's packages pyannote.metrics, meeteval and scipy.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import meeteval
import numpy as np
from pyannote.core import Annotation
from pyannote.core import Segment as Stretch
from pyannote.metrics.diarization import DiarizationErrorRate

import demo
from bench.speech.conversations import KINDS, Conversation, converse
from bench.speech.models import engine_of, plain
from demo.training.espeak import Espeak
from tests import sound
from transcription.options import Decoding
from transcription.spans import windows
from transcription.speakers import Turn, attribute, label
from transcription.transcript import Segment
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.diarizers.clustering import Speakers
from worker.diarizers.embedding import SPEECH, EmbeddingDiarizer
from worker.diarizers.packing import pack, unpack
from worker.engines.base import Engine

COUNTS = (2, 3, 4, 5, 6)
HEADINGS = (
    *("conversations", "", "DER", "missed", "false", "confused", "number right", "cpWER"),
    *("real-time factor", "of transcribing"),
)


@dataclass(frozen=True, slots=True)
class Score:
    """One conversation's figures: seconds of error by kind, of speech, of audio and of work."""

    conversation: Conversation
    missed: float
    false: float
    confused: float
    spoken: float
    found: int
    diarize_s: float
    transcribe_s: float = 0.0
    word_errors: int = 0
    words: int = 0

    @property
    def error(self) -> float:
        """Diarization error in seconds."""
        return self.missed + self.false + self.confused


def diarize(diarizer: EmbeddingDiarizer, conversation: Conversation, speakers: Speakers) -> tuple[list[Turn], float]:
    """Who speaks when, and the CPU time that it took, the search for speech included."""
    began = time.process_time()
    recording = sound.recording(conversation.audio)
    speech = detect_speech(recording, options=SPEECH)
    voices = unpack(pack(diarizer.hear(speech, recording)))
    turns = list(diarizer.diarize(voices, speech, speakers).turns)
    return turns, time.process_time() - began


def transcribe(engine: Engine, conversation: Conversation) -> tuple[list[Segment], float]:
    """What is said, with words' times, and the CPU time that it took."""
    began = time.process_time()
    recording = sound.recording(conversation.audio)
    groups = windows(detect_speech(recording))
    found = engine.transcribe(
        (Window.joined(group, recording.cut) for group in groups),
        Decoding(word_timestamps=True),
        language="en",
        owner=conversation.name,
        cancelled=lambda: False,
    )
    return [segment for window in found for segment in window], time.process_time() - began


def error_rate(conversation: Conversation, turns: Iterable[Turn]) -> dict[str, float]:
    """The parts of the diarization error in seconds, as pyannote.metrics counts them."""
    reference, hypothesis = Annotation(), Annotation()
    for number, said in enumerate(conversation.said):
        reference[Stretch(said.start, said.end), number] = said.speaker
    for number, turn in enumerate(turns):
        hypothesis[Stretch(turn.start, turn.end), number] = label(turn.speaker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it takes the recording's extent from the two
        return dict(DiarizationErrorRate(collar=0.0, skip_overlap=False)(reference, hypothesis, detailed=True))


def word_errors(conversation: Conversation, segments: Iterable[Segment], turns: list[Turn]) -> tuple[int, int]:
    """Word errors with each speaker's words put together (cpWER), and words."""
    said: dict[str, list[str]] = defaultdict(list)
    for one in conversation.said:
        said[one.speaker].append(plain(one.text))
    heard: dict[str, list[str]] = defaultdict(list)
    for segment in attribute(list(segments), turns):
        heard[segment.speaker or "nobody"].append(plain(segment.text))
    rate = meeteval.wer.cp_word_error_rate(
        {who: " ".join(texts) for who, texts in said.items()}, {who: " ".join(texts) for who, texts in heard.items()}
    )
    return rate.errors, rate.length


def score(
    diarizer: EmbeddingDiarizer, conversation: Conversation, engine: Engine | None, *, told: bool = False
) -> Score:
    """Score one conversation; *told*: the number of speakers is given."""
    speakers = Speakers(conversation.speakers, conversation.speakers) if told else Speakers()
    turns, diarize_s = diarize(diarizer, conversation, speakers)
    parts = error_rate(conversation, turns)
    words: tuple[int, int] = (0, 0)
    transcribe_s = 0.0
    if engine is not None:
        segments, transcribe_s = transcribe(engine, conversation)
        words = word_errors(conversation, segments, turns)
    return Score(
        conversation,
        parts["missed detection"],
        parts["false alarm"],
        parts["confusion"],
        parts["total"],
        len({turn.speaker for turn in turns}),
        diarize_s,
        transcribe_s,
        *words,
    )


def row(name: str, scores: list[Score]) -> str:
    """One line of the table."""
    spoken = sum(one.spoken for one in scores)
    shares = [sum(getattr(one, part) for one in scores) / spoken for part in ("error", "missed", "false", "confused")]
    right = sum(one.found == one.conversation.speakers for one in scores)
    off = statistics.mean(one.found - one.conversation.speakers for one in scores)
    words = sum(one.words for one in scores)
    spent, transcribed = sum(one.diarize_s for one in scores), sum(one.transcribe_s for one in scores)
    cells = [
        name,
        f"{len(scores)}",
        *(f"{share:.1%}" for share in shares),
        f"{right} of {len(scores)} ({off:+.1f})",
        f"{sum(one.word_errors for one in scores) / words:.1%}" if words else "",
        f"{spent / sum(one.conversation.seconds for one in scores):.4f}",
        f"{spent / transcribed:.1%}" if transcribed else "",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=4, help="conversations of each kind and number of speakers")
    parser.add_argument("--network", type=Path, default=demo.SPEAKER_NETWORK)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--told", action="store_true", help="say how many speakers there are")
    parser.add_argument("--words", choices=["demo", "base"], help="transcribe as well, at this cost")
    parser.add_argument("--seed", type=int, default=1000)
    args = parser.parse_args()
    diarizer, speaker = EmbeddingDiarizer(args.network, threshold=args.threshold), Espeak()
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(Path(folder), args.words) if args.words else None
        scores = [
            score(diarizer, converse(speaker, args.seed + n, kind, count), engine, told=args.told)
            for count in COUNTS
            for kind in KINDS
            for n in range(args.each)
        ]
    print(f"| {' | '.join(HEADINGS)} |")
    print("|---" * len(HEADINGS) + "|")
    for name, chosen in _groups(scores).items():
        print(row(name, chosen))


def _groups(scores: list[Score]) -> dict[str, list[Score]]:
    groups = {f"{count} speakers": [one for one in scores if one.conversation.speakers == count] for count in COUNTS}
    groups["3 to 6 speakers"] = [one for one in scores if one.conversation.speakers > 2]
    groups |= {kind: [one for one in scores if one.conversation.kind == kind] for kind in KINDS}
    return groups | {"all": scores}


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
