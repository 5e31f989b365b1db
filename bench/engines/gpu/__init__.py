"""One card and ten minutes: `bench/engines/gpu.sh` runs each row of its table as `python -m bench.engines.gpu ROW`."""
