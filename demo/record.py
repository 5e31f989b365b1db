"""
Make the sample recordings: `python -m demo.record`.

Needs espeak-ng, ffmpeg and `demo/training/requirements.txt`. Another version of espeak-ng speaks a little
differently, so run the tests after it.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.sample import SAMPLES_DIRECTORY
from demo.training.espeak import SAMPLE_RATE, Espeak

PAUSE_S = 0.7
LONG_PAUSE_S = 3.0
LEAD_S = 0.3
VOICES = {"en": "en-us", "de": "de"}
GAIN = 0.7

PAUSE = ""
"""In a script: a long pause."""

SHORT = """Who was the quiet hospital?
Victor Uniform.
Can you close a old camera?
I speak near the city on Friday.
The yellow plane starts at ten."""

LONG = """Welcome Anna.
The meeting starts at nine o'clock.
The green train leaves on Monday.
My brother sent the blue letter yesterday.
We need bread and cheese.

The station is very quiet in the morning.
The bird is under the table.
Please send the first recording.
The number is forty two.
Alpha Bravo Charlie.
The language works today.

Will they bring this paper?
The doctor wants a new computer.
The rain was cold on Thursday.
They work at the old house on Tuesday.
She is here.
The white ship arrives in March.

Where is the small bottle?
Peter and my sister are in the garden.
Thirty minutes on Sunday.
The horse is near the river.
Thank you Maria.
The purple plane stops tomorrow.
My friend likes that music.

I like coffee and milk.
The school is not big in April.
Please find that book.
They meet near the market.
Your teacher said hello to Daniel.
A week of snow and wind.
The red car stops in the afternoon.
No they will speak again.
The number is nine hundred.
Golf Hotel India."""

GERMAN = """Guten Tag.
Wir brauchen Wasser und Brot.
Der blaue Wagen fährt um sieben.
Die rote Katze ist sehr klein.
Wo ist der Garten?
Der Zug kommt am Montag um neun Uhr."""

SPEECH = """Hello Julia.
The orange bus leaves on Wednesday.
My mother needs the next report.
They have fish and sugar.
When was the loud song?
The market opens at eight o'clock."""

DIALOGUE = """A Welcome Anna.
A The meeting starts at nine o'clock.
B Thank you Peter.
B Where is the big table?
A It is near the window.
B My sister sent the blue letter yesterday.
A We need bread and cheese.
A Please send the first recording.
B The rain was cold this morning.
A The horse is near the river."""

VIDEO = """Welcome Thomas.
The purple bird is on the chair.
Please show the last picture.
The sun was hot in August.
Echo Foxtrot Golf."""


@dataclass(frozen=True)
class Recording:
    """
    What goes into one file: its name, language, the lines spoken (none for silence), and ffmpeg's options.

    Where there are several `voices`, each line begins with the name of its speaker.
    """

    name: str
    language: str
    script: str
    voices: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    inputs: Sequence[str] = ()


RECORDINGS = (
    Recording("short.flac", "en", SHORT),
    Recording("long.flac", "en", LONG),
    Recording("german.flac", "de", GERMAN),
    Recording("silence.flac", "en", ""),
    Recording("dialogue.flac", "en", DIALOGUE, voices={"A": "en-us+f2", "B": "en-us+m5"}),
    Recording("speech.mp3", "en", SPEECH, options=("-b:a", "48k")),
    Recording(
        "video.mp4",
        "en",
        VIDEO,
        inputs=("-f", "lavfi", "-i", "testsrc=size=96x72:rate=5"),
        options=("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k", "-shortest"),
    ),
)


def main() -> None:
    """Write every recording, its transcript (`.txt`) and its segment times (`.json`) into `demo/samples/`."""
    SAMPLES_DIRECTORY.mkdir(exist_ok=True)
    speaker = Espeak()
    for recording in RECORDINGS:
        audio, rows = compose(speaker, recording)
        path = SAMPLES_DIRECTORY / recording.name
        encode(audio, path, recording)
        transcript = " ".join(str(row["text"]) for row in rows)
        path.with_suffix(".txt").write_text(f"{transcript}\n" if rows else "", encoding="utf-8")
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        path.with_suffix(".json").write_text(f"[\n{lines}\n]\n" if rows else "[]\n", encoding="utf-8")
        print(f"{path.name}: {len(audio) / SAMPLE_RATE:.2f} s, {path.stat().st_size} bytes")


def compose(speaker: Espeak, recording: Recording) -> tuple[NDArray[np.float32], list[dict[str, float | str]]]:
    """Speak the lines of *recording* one after another; give the audio, and start, end and text of each line."""
    if not recording.script:
        return np.zeros(10 * SAMPLE_RATE, np.float32), []
    parts = [np.zeros(int(LEAD_S * SAMPLE_RATE), np.float32)]
    rows: list[dict[str, float | str]] = []
    for line in recording.script.split("\n"):
        if line == PAUSE:
            parts.append(np.zeros(int(LONG_PAUSE_S * SAMPLE_RATE), np.float32))
            continue
        who, text = line.split(" ", 1) if recording.voices else (None, line)
        utterance = speaker.say(text, recording.voices[who] if who else VOICES[recording.language])
        if utterance is None:
            raise ValueError(f"espeak-ng says nothing for: {line}")
        start = sum(map(len, parts)) / SAMPLE_RATE
        end = start + len(utterance.audio) / SAMPLE_RATE
        row: dict[str, float | str] = {"start": round(start, 2), "end": round(end, 2), "text": text}
        rows.append({**row, "speaker": who} if who else row)
        parts += [utterance.audio * GAIN, np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)]
    return np.concatenate(parts), rows


def encode(audio: NDArray[np.float32], path: Path, recording: Recording) -> None:
    """Let ffmpeg write *audio*, shape (n,), into *path*, in the format that its suffix names."""
    raw = np.round(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes()
    source = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "-")
    # Without the bit-exact flags the file would name the encoder's version.
    command = ("ffmpeg", "-v", "error", "-y", *source, *recording.inputs, *recording.options)
    command = (*command, "-fflags", "+bitexact", "-flags:a", "+bitexact", str(path))
    subprocess.run(command, input=raw, check=True)  # noqa: S603 - every argument is written in this file


if __name__ == "__main__":
    main()
