"""
Measure the demo model: `python -m demo.evaluate [faster-whisper] [mlx-whisper]`.

Speaks its recordings with espeak-ng and prints word error rates, time errors and real-time factors, by engine and
options. Needs `demo/training/requirements.txt` and the engines named; takes a few minutes, on a CPU most of them for
mlx-whisper.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray

from demo.export import export_ct2, export_mlx
from demo.training.espeak import SAMPLE_RATE, Espeak, SpokenWord
from demo.training.evaluation_set import KINDS, Trial, make_trials
from demo.training.score import Heard, Listener, score

FASTER_WHISPER, MLX_WHISPER = "faster-whisper", "mlx-whisper"
MLX_TRIALS = 8
PROMPT = "Names in this meeting are Zoltan and Beatrix."

Options = Mapping[str, Any]

OPTION_TRIALS: tuple[tuple[str, Options], ...] = (
    ("held-out voices", {"beam_size": 1}),
    ("held-out voices", {"word_timestamps": True}),
    ("held-out voices", {"without_timestamps": True}),
    ("held-out voices", {"vad_filter": True}),
    ("held-out voices", {"initial_prompt": PROMPT, "hotwords": "Kubernetes"}),
    ("90 s", {"condition_on_previous_text": False}),
    ("90 s", {"word_timestamps": True}),
    ("90 s", {"vad_filter": True, "word_timestamps": True}),
)
BATCHED_OPTIONS: tuple[Options, ...] = ({}, {"without_timestamps": False, "word_timestamps": True})


def main() -> None:
    """Measure the engines named on the command line, or both."""
    engines = sys.argv[1:] or [FASTER_WHISPER, MLX_WHISPER]
    speaker = Espeak()
    trials = {name: make_trials(speaker, kind) for name, kind in KINDS.items()}
    with tempfile.TemporaryDirectory() as scratch:
        if FASTER_WHISPER in engines:
            measure_faster_whisper(export_ct2(Path(scratch) / "ct2"), trials)
        if MLX_WHISPER in engines:
            measure_mlx_whisper(export_mlx(Path(scratch) / "mlx"), trials)


def measure_faster_whisper(directory: Path, trials: Mapping[str, list[Trial]]) -> None:
    """Print the figures of faster-whisper: int8, beam 5, one thread."""
    model = WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=1)
    for name, recordings in trials.items():
        _report(FASTER_WHISPER, name, {}, _faster_listener(model, language=recordings[0].language), recordings)
    for name, options in OPTION_TRIALS:
        _report(FASTER_WHISPER, name, options, _faster_listener(model, language="en", **options), trials[name])
    batched = BatchedInferencePipeline(model)
    for options in BATCHED_OPTIONS:
        listener = _faster_listener(batched, language="en", batch_size=4, **options)
        _report("batched", "90 s", options, listener, trials["90 s"])
    recordings = [trial for name in ("default voice", "held-out voices", "German") for trial in trials[name]]
    right = sum(model.transcribe(trial.audio)[1].language == trial.language for trial in recordings)
    print(f"{FASTER_WHISPER}, language detected: {right} of {len(recordings)}")
    for name, audio in _speechless().items():
        for options in ({}, {"without_timestamps": True}):
            texts = [segment.text for segment in model.transcribe(audio, language="en", **options)[0]]
            print(f"{FASTER_WHISPER}, {name}{_suffix(options)}: {texts or 'nothing'}")


def measure_mlx_whisper(directory: Path, trials: Mapping[str, list[Trial]]) -> None:
    """Print the figures of mlx-whisper: float16, greedy."""
    for name, recordings in trials.items():
        some = recordings[: 1 if name == "90 s" else MLX_TRIALS]
        _report(MLX_WHISPER, name, {}, _mlx_listener(directory, language=some[0].language), some)
    for name, options in (
        ("held-out voices", {"word_timestamps": True}),
        ("90 s", {"condition_on_previous_text": False}),
    ):
        some = trials[name][: 1 if name == "90 s" else MLX_TRIALS]
        _report(MLX_WHISPER, name, options, _mlx_listener(directory, language="en", **options), some)


def _report(engine: str, name: str, options: Options, listener: Listener, trials: list[Trial]) -> None:
    print(f"{engine}, {name}{_suffix(options)}: {score(listener, trials)}", flush=True)


def _suffix(options: Options) -> str:
    return "".join(f", {key}={value}" for key, value in options.items())


def _faster_listener(model: WhisperModel | BatchedInferencePipeline, **options: Any) -> Listener:
    def listen(audio: NDArray[np.float32]) -> Heard:
        segments = list(model.transcribe(audio, **options)[0])
        return Heard(
            [SpokenWord(segment.text, segment.start, segment.end) for segment in segments],
            [SpokenWord(word.word, word.start, word.end) for segment in segments for word in segment.words or ()],
        )

    return listen


def _mlx_listener(directory: Path, **options: Any) -> Listener:
    # Only Macs and machines with mlx[cpu] have it.
    import mlx_whisper  # noqa: PLC0415

    def listen(audio: NDArray[np.float32]) -> Heard:
        result = mlx_whisper.transcribe(audio, path_or_hf_repo=str(directory), **options)
        segments = [segment for segment in result["segments"] if segment["text"].strip()]
        return Heard(
            [SpokenWord(segment["text"], segment["start"], segment["end"]) for segment in segments],
            [
                SpokenWord(word["word"], word["start"], word["end"])
                for segment in segments
                for word in segment.get("words", ())
            ],
        )

    return listen


def _speechless() -> dict[str, NDArray[np.float32]]:
    ten_seconds = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    hiss = np.random.default_rng(0).standard_normal(len(ten_seconds)) * 0.02
    return {
        "silence": np.zeros(len(ten_seconds), np.float32),
        "65 s of silence": np.zeros(65 * SAMPLE_RATE, np.float32),
        "tone": (0.3 * np.sin(2 * np.pi * 440 * ten_seconds)).astype(np.float32),
        "white noise": hiss.astype(np.float32),
    }


if __name__ == "__main__":
    main()
