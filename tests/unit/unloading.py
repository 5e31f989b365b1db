"""Run by test_model_cache: prints the resident bytes before a model is loaded, after its work, after it is gone."""

import sys
from pathlib import Path

import numpy as np
import psutil

from transcription.options import Decoding
from transcription.settings import Settings
from transcription.spans import Span
from worker.audio.windows import Window
from worker.model_cache import ModelCache, load

resident = psutil.Process().memory_info
warm = Settings(device="cpu", compute_type="float32", data_dir=Path(sys.argv[1]).parent)
load(sys.argv[1], warm).close()  # libraries and their threads stay, and aren't the model's; nor is choosing an encoder
cache = ModelCache(warm)
noise = np.random.default_rng(1).standard_normal(80_000, np.float32)
window = Window((Span(0, 5),), noise)
before = resident().rss
with cache.get(sys.argv[1]) as engine:
    options = Decoding(beam_size=1, temperature=1.0)
    list(engine.transcribe([window], options, language="en", owner="o", cancelled=lambda: False))
loaded = resident().rss
del engine
cache.close()
sys.stdout.write(f"{before} {loaded} {resident().rss}")
