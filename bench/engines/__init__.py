"""Encoders, decoders and one card by themselves; `python -m bench.engines.encoders --help`."""
