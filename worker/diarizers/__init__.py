"""Diarizers: who speaks when."""
