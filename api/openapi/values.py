"""The nouns of the examples: a job, a transcript, a worker, a model, as they go over the wire."""

from typing import Any

ID = "3f0e7c1c9d7a4a4b8f0e5a4de0b6a2f1"
TIME = "2026-11-26T12:00:00Z"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_OWN = f"/v1/jobs/{ID}"

JOB: dict[str, Any] = {
    "id": ID,
    "status": "completed",
    "created_at": TIME,
    "started_at": TIME,
    "completed_at": TIME,
    "expires_at": "2026-11-27T12:00:00Z",
    "progress": {"fraction": 1.0, "audio_seconds_done": 2.5, "audio_seconds_total": 2.5, "estimated": False},
    "model": "base",
    "language": "en",
    "options": {"language": "en", "task": "transcribe", "response_format": "json", "beam_size": 5},
    "audio": {"sha256": SHA256, "bytes": 384_044, "duration_s": 2.5, "filename": "meeting.mp3"},
    "cached": False,
    "attempts": 1,
    "compute_s": 0.8,
    "warnings": [],
    "tracks": [
        {
            "number": 1,
            "codec": "mp3",
            "channels": 2,
            "sample_rate": 44_100,
            "language": None,
            "title": None,
            "default": True,
            "taken": True,
        }
    ],
    "error": None,
    "urls": {"self": _OWN, "result": f"{_OWN}/result", "events": f"{_OWN}/events", "cancel": f"{_OWN}/cancel"},
}

VERBOSE: dict[str, Any] = {
    "task": "transcribe",
    "language": "english",
    "language_probability": 0.98,
    "duration": 2.5,
    "model": "base",
    "text": "Good morning, everyone.",
    "segments": [
        {
            "id": 0,
            "seek": 0,
            "start": 0.0,
            "end": 2.4,
            "text": " Good morning, everyone.",
            "tokens": [50364, 2205, 2446, 11, 1518, 13],
            "temperature": 0.0,
            "avg_logprob": -0.21,
            "compression_ratio": 0.96,
            "no_speech_prob": 0.01,
            "low_confidence": False,
            "doubtful": False,
        }
    ],
    "warnings": [],
}

WORKER: dict[str, Any] = {
    "id": "one@host",
    "models": ["base"],
    "engine": "faster_whisper",
    "device": "cpu",
    "compute_type": "int8",
    "slots": 4,
    "host": "host",
    "started_at": TIME,
    "rate": 21.5,
    "running": 2,
    "traits": ["engine=faster_whisper", "device=cpu", "language=*"],
    "layout": "2 models, 1 thread each",
    "quarantine": "",
    "withdrawn": [],
    "diarizer": "",
    "revisions": {},
    "version": "0.1.0",
    "commit": "3e6eb3cc0077aa64765f9268bd854b71e7f62f45",
    "draining": False,
}

MODEL: dict[str, Any] = {
    "id": "base",
    "object": "model",
    "created": 1764158400,
    "owned_by": "murmuration",
    "alias_of": None,
    "default": True,
    "engines": ["faster_whisper"],
    "devices": ["cpu"],
    "compute_types": ["int8"],
    "workers": 1,
}

STATS: dict[str, Any] = {
    "jobs": {"queued": 3, "processing": 1, "completed": 40, "failed": 0, "canceled": 1, "expired": 0},
    "queue": {"spans": 4, "audio_seconds": 610.5, "oldest_age_s": 3.2, "running_spans": 2, "unserved": []},
    "workers": [WORKER],
    "cache": {"hits": 12, "joined": 2, "hit_ratio": 0.2857},
    "dead_letters": 0,
    "counters": {"new": 28, "joined": 2, "cached": 12},
    "requests": {"accepted": 42, "rejected": 1},
}

DEAD_LETTER: dict[str, Any] = {
    "computation": "b0a53ee09e2b4d5bb3d1a4c1c4b2a5f0",
    "died_at": TIME,
    "error": {"code": "worker_lost", "message": "the worker died three times with it", "retryable": True},
    "advice": "Look at the worker's log and memory, then retry it.",
    "attempts": 3,
    "model": "base",
    "options": {"language": "en", "task": "transcribe", "beam_size": 5},
    "audio": {"sha256": SHA256, "duration_s": 2.5, "filename": "meeting.mp3"},
    "jobs": [ID],
}
