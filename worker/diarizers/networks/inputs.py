"""What published speaker-embedding networks take: each framework's own features, or the sound itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from transcription.errors import ModelUnavailable
from transcription.media.audio import Samples
from worker.diarizers.networks.fbank import MELS, Window, fbank
from worker.diarizers.networks.nemo import log_mel

INT16 = np.float32(32768.0)

Arrays = NDArray[Any]
Feed = Callable[[Sequence[Samples]], dict[str, Arrays]]


@dataclass(frozen=True, slots=True)
class _Port:
    """An input of a network: None in its shape stands for any length."""

    name: str
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, found: Any) -> "_Port":
        return cls(str(found.name), tuple(length if isinstance(length, int) else None for length in found.shape))


def feed_of(session: onnxruntime.InferenceSession, *, named: str) -> Feed:
    """
    How to feed a network with sounds of one length.

    By the form of its inputs, its metadata, where it has some, and the names that its framework gives them:

    - `(N, frames, 80)`: Kaldi's filter banks less their mean. WeSpeaker's networks (input `feats`) were trained with a
      Hamming window, 3D-Speaker's and others with Kaldi's own.
    - `(N, 80, frames)` and a length: NeMo's log-mel spectrogram (TitaNet, SpeakerNet).
    - `(N, samples)` or `(N, 1, samples)`: the sound, full scale 1.

    Raises:
        ModelUnavailable: none of these, or another sample rate than 16 kHz.
    """
    meta = session.get_modelmeta().custom_metadata_map
    ports = [_Port.of(found) for found in session.get_inputs()]
    if meta.get("sample_rate", "16000") != "16000":
        raise ModelUnavailable(f"the speaker network {named} hears {meta['sample_rate']} Hz; 16000 is needed")
    sound, *others = ports
    if len(sound.shape) == 3 and len(others) == 1 and len(others[0].shape) == 1 and sound.shape[1] in (MELS, None):
        return _nemo(sound.name, others[0].name, _integer(session, others[0].name))
    if not others and len(sound.shape) == 3 and sound.shape[2] in (MELS, None) and sound.shape[1] != 1:
        return _kaldi(sound.name, meta)
    if not others and len(sound.shape) == 2:
        return lambda parts: {sound.name: _together(parts)}
    if not others and len(sound.shape) == 3 and sound.shape[1] == 1:
        return lambda parts: {sound.name: _together(parts)[:, None]}
    shapes = ", ".join(f"{port.name} {list(port.shape)}" for port in ports)
    raise ModelUnavailable(
        f"the speaker network {named} takes {shapes}; needed are filter banks (N, frames, {MELS}) as WeSpeaker's and "
        f"3D-Speaker's, NeMo's (N, {MELS}, frames) with a length, or sound, (N, samples) or (N, 1, samples)"
    )


def _kaldi(name: str, meta: Mapping[str, str]) -> Feed:
    scale = np.float32(1.0) if meta.get("normalize_samples") == "1" else INT16
    wespeaker = meta.get("framework", "wespeaker" if name == "feats" else "") == "wespeaker"
    window = Window.HAMMING if wespeaker else Window.POVEY

    def feed(parts: Sequence[Samples]) -> dict[str, Arrays]:
        heard = [fbank(part * scale, window=window) for part in parts]
        frames = min(map(len, heard))  # a window may be a sample longer than another
        features = np.stack([one[:frames] for one in heard])
        return {name: features - features.mean(1, keepdims=True)}

    return feed


def _nemo(name: str, length: str, integer: Any) -> Feed:
    def feed(parts: Sequence[Samples]) -> dict[str, Arrays]:
        size = min(part.size for part in parts)
        features = np.stack([log_mel(part[:size]) for part in parts])
        return {name: features, length: np.full(len(parts), features.shape[2], integer)}

    return feed


def _together(parts: Sequence[Samples]) -> Arrays:
    size = min(part.size for part in parts)
    return np.stack([part[:size] for part in parts]).astype(np.float32)


def _integer(session: onnxruntime.InferenceSession, name: str) -> Any:
    kinds = {found.name: found.type for found in session.get_inputs()}
    return np.int32 if "int32" in kinds[name] else np.int64
