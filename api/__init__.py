"""The HTTP side: FastAPI over one core of submit, look up, cancel."""

from transcription.observability.build import build

VERSION = build().version
COMMIT = build().commit
