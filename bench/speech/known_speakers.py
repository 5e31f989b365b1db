"""
Known speakers: `python -m bench.speech.known_speakers`.

Conversations as `bench.speech.speakers` has them, from other seeds; of each speaker one turn is taken out, which
becomes the sample. Counts by threshold how often a speaker whose sample is there is called right, how often
one whose sample is left out is taken for another, and how often a voice is found that isn't in the recording at all.
Needs espeak-ng, and besides the worker's packages scipy.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

import demo
from bench.speech.conversations import KINDS, Conversation, converse
from demo.training.espeak import SAMPLE_RATE, Espeak
from tests import sound
from transcription.known_speakers import recognized
from transcription.media.audio import Samples
from transcription.options import LONGEST_SAMPLE_S, SHORTEST_SAMPLE_S
from transcription.speakers import Diarized, label
from worker.audio.speech import detect_speech
from worker.diarizers.clustering import Speakers
from worker.diarizers.embedding import SPEECH, EmbeddingDiarizer

COUNTS = (2, 3, 4, 5, 6)
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.385, 0.4, 0.45, 0.5, 0.55)


@dataclass(frozen=True, slots=True)
class Case:
    """Who was found, whose voice each found one's is, and the samples by their speakers."""

    found: Diarized
    truth: dict[int, str]
    samples: dict[str, Diarized]


def case(diarizer: EmbeddingDiarizer, conversation: Conversation) -> Case:
    """Take a turn of each speaker out of *conversation*, and diarize the rest and each of the turns."""
    audio, samples = conversation.audio.copy(), {}
    for said in conversation.said:
        alone = all(other is said or other.end <= said.start or other.start >= said.end for other in conversation.said)
        if said.speaker not in samples and said.end - said.start >= SHORTEST_SAMPLE_S and alone:
            end = min(said.end, said.start + LONGEST_SAMPLE_S)
            part = slice(round(said.start * SAMPLE_RATE), round(end * SAMPLE_RATE))
            samples[said.speaker] = diarize(diarizer, conversation.audio[part], Speakers(1, 1))
            audio[part] = 0
    found = diarize(diarizer, audio, Speakers())
    truth = {number: whose for number in range(len(found.embeddings)) if (whose := _whose(conversation, found, number))}
    return Case(found, truth, {name: sample for name, sample in samples.items() if sample.embeddings})


def diarize(diarizer: EmbeddingDiarizer, audio: Samples, speakers: Speakers) -> Diarized:
    """Who speaks in *audio*."""
    recording = sound.recording(audio)
    speech = detect_speech(recording, options=SPEECH)
    return diarizer.diarize(diarizer.hear(speech, recording), speech, speakers)


def _whose(conversation: Conversation, found: Diarized, number: int) -> str | None:
    """Who says most of what a found speaker says."""
    shared: dict[str, float] = {}
    for turn in found.turns:
        for said in conversation.said if turn.speaker == number else ():
            seconds = max(0.0, min(turn.end, said.end) - max(turn.start, said.start))
            shared[said.speaker] = shared.get(said.speaker, 0.0) + seconds
    return max(shared, key=lambda name: shared[name]) if any(shared.values()) else None


def score(cases: list[Case], threshold: float) -> Counter[str]:
    """Count what happens with each speaker's sample left out in turn."""
    counts: Counter[str] = Counter()
    for number, one in enumerate(cases):
        found = replace(one.found, threshold=threshold)
        for left_out in sorted(one.samples):
            known = [(name, sample) for name, sample in one.samples.items() if name != left_out]
            names = recognized(found, known)
            counts += _told(names, one.truth, dict(known))
        for name, sample in cases[(number + 7) % len(cases)].samples.items():
            if name not in one.truth.values():
                counts["absent"] += 1
                counts["absent but named"] += bool(recognized(found, [(name, sample)]))
    return counts


def _told(names: dict[str, str], truth: dict[int, str], known: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number, whose in truth.items():
        called, is_known = names.get(label(number)), whose in known
        counts["known" if is_known else "strangers"] += 1
        if is_known and called is None and list(truth.values()).count(whose) > 1:
            counts["known"] -= 1  # one of two that are the same speaker: only one can be called so
        elif is_known:
            counts["right"] += called == whose
            counts["wrong"] += called not in (whose, None)
        else:
            counts["strangers named"] += called is not None
    return counts


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=1, help="conversations of each kind and number of speakers")
    parser.add_argument("--seed", type=int, default=7000)
    args = parser.parse_args()
    diarizer, speaker = EmbeddingDiarizer(demo.SPEAKER_NETWORK), Espeak()
    cases = [
        case(diarizer, converse(speaker, args.seed + n, kind, count))
        for count in COUNTS
        for kind in KINDS
        for n in range(args.each)
    ]
    print("| threshold | known, called right | called wrong | strangers that were named | absent that were found |")
    print("|---|---|---|---|---|")
    for threshold in THRESHOLDS:
        found = score(cases, threshold)
        strangers, absent = f"{found['strangers named']} of {found['strangers']}", found["absent but named"]
        print(
            f"| {threshold:g} | {found['right']} of {found['known']} | {found['wrong']} | {strangers} "
            f"| {absent} of {found['absent']} |"
        )


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
