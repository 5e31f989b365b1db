"""Engines: what turns windows of speech into segments."""
