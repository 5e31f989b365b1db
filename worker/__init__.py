"""The computing side: spans in, windows of text out. Celery only wakes it."""
