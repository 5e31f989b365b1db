"""What the ledger costs and bears; `python -m bench.ledger.throughput --help`."""
