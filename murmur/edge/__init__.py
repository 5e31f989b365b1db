"""What nginx saw, for Prometheus: a process of its own beside it reads the log that nginx writes for this."""
