"""Prometheus metrics of one API process, and of the ledger."""
