"""
What the domain needs from the world: what it asks of others, and what they tell of themselves.

The API's side is async, the worker's sync; no operation stands on both.
"""

from transcription.ports.figures import Backlog, Lane, Latency, Server, Waiting, WorkerInfo
from transcription.ports.jobs import JobStore, Mark, Page
from transcription.ports.messages import Event, EventLog, JobQueue, Outbox
from transcription.ports.spans import Heard, SpanStore
from transcription.ports.storage import BlobStore, ResultStore, Upload
from transcription.ports.tenants import KeyRing, QuotaBook

__all__ = [
    "Backlog",
    "BlobStore",
    "Event",
    "EventLog",
    "Heard",
    "JobQueue",
    "JobStore",
    "KeyRing",
    "Lane",
    "Latency",
    "Mark",
    "Outbox",
    "Page",
    "QuotaBook",
    "ResultStore",
    "Server",
    "SpanStore",
    "Upload",
    "Waiting",
    "WorkerInfo",
]
