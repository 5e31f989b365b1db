"""
The built-in demo model, which understands a closed toy vocabulary, and recordings to try it on.

The platform runs it where no Whisper weights can be had: a first run without a hub, the tests, the benchmarks.
"""

from pathlib import Path

from demo.export import export_ct2, export_mlx
from demo.names import REVISION, Size
from demo.sample import DIALOGUE, SAMPLES, Sample, SampleSegment

SPEAKER_NETWORK = Path(__file__).with_name("speakers.onnx")
"""The toy that tells espeak-ng's voices apart; see README.md."""

__all__ = [
    "DIALOGUE",
    "REVISION",
    "SAMPLES",
    "SPEAKER_NETWORK",
    "Sample",
    "SampleSegment",
    "Size",
    "export_ct2",
    "export_mlx",
]
