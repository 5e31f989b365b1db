"""Speaker-embedding networks as they are published in ONNX: what they hear, and what they give."""
