"""Backups of the ledger and the recordings, taken while the platform runs."""
