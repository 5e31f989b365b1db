"""Whisper in torch: NVIDIA's GPUs, and the CPU for tests. See README.md."""
