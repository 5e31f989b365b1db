"""Words, speakers and speed with real engines beside others; `python -m bench.speech.run --help`."""
