"""
The built-in demo model, which understands a closed toy vocabulary, and recordings to try it on.

The platform runs it where no Whisper weights can be had: a first run without a hub, the tests, the benchmarks.
"""

from demo.export import export_ct2, export_mlx
from demo.sample import SAMPLES, Sample, SampleSegment
from demo.weights import REVISION
from demo.widen import Size

__all__ = ["REVISION", "SAMPLES", "Sample", "SampleSegment", "Size", "export_ct2", "export_mlx"]
