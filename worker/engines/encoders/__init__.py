"""Encoders: what turns the sound of a window into what the decoder reads, apart from the rest of an engine."""
