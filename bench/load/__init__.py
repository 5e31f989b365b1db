"""The whole control plane under load; `python -m bench.load --help`."""
