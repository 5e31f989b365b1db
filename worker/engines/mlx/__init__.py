"""mlx-whisper as an engine."""
