"""Adapters: Redis, disks, queues, logs. Errors of third parties become ours here."""
