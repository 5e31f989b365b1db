"""A whole request and a whole answer for every operation, by its id. A test holds them to their schemas."""

import base64
from typing import Any

from api.openapi.values import DEAD_LETTER, ID, JOB, MODEL, STATS, TIME, VERBOSE, WORKER

Answers = dict[tuple[str, str], Any]

JSON = "application/json"
FORM = "multipart/form-data"
EVENTS = "text/event-stream"
# A hundredth of a second of silence, 8 kHz mono: small enough to stand in a document.
_WAV = b"RIFF\xc4\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\xa0\0\0\0" + bytes(160)
_AUDIO = base64.b64encode(_WAV).decode()
_BYTES = "(the recording's bytes)"
_TEXT = "Good morning, everyone."
_SRT = f"1\n00:00:00,000 --> 00:00:02,400\n{_TEXT}\n"
_VTT = f"WEBVTT\n\n00:00:00.000 --> 00:00:02.400\n{_TEXT}\n"
_TSV = f"start\tend\ttext\n0\t2400\t{_TEXT}\n"
_USAGE = {"type": "duration", "seconds": 3}
_PLAIN = {name: VERBOSE[name] for name in ("text", "duration", "model", "warnings")} | {"language": "en"}
_TEXTS: Answers = {
    ("200", "text/plain"): f"{_TEXT}\n",
    ("200", "application/x-subrip"): _SRT,
    ("200", "text/vtt"): _VTT,
    ("200", "text/tab-separated-values"): _TSV,
}
_FOLLOWED = f"""\
retry: 1000

id: 1764158400000-0.0
event: segment
data: {{"span": 0, "start": 0.0, "end": 2.4, "text": " {_TEXT}", "temperature": 0.0, "avg_logprob": -0.21, \
"compression_ratio": 0.96, "no_speech_prob": 0.01, "low_confidence": false, "doubtful": false}}

id: 1764158400000-0.1
event: progress
data: {{"fraction": 1.0, "audio_seconds_done": 2.5, "audio_seconds_total": 2.5}}

id: 1764158400100-0.0
event: status
data: {{"status": "completed"}}

id: 1764158400100-0.1
event: done
data: {{"status": "completed", "language": "en", "duration": 2.5, "warnings": []}}

"""
_OPENAI_STREAM = f"""\
data: {{"type": "transcript.text.delta", "delta": "{_TEXT}"}}

data: {{"type": "transcript.text.done", "text": "{_TEXT}"}}

"""
_CHAT_STREAM = f"""\
data: {{"id": "chatcmpl-{ID}", "object": "chat.completion.chunk", "created": 1764158400, "model": "whisper-1", \
"choices": [{{"index": 0, "delta": {{"content": "{_TEXT}"}}, "logprobs": null, "finish_reason": null}}]}}

data: [DONE]

"""
_METRICS = """\
# HELP murmur_submits_total Jobs accepted, by outcome.
# TYPE murmur_submits_total counter
murmur_submits_total{outcome="new"} 3.0
"""
_LEDGER_METRICS = """\
# HELP murmur_jobs Jobs kept, by status.
# TYPE murmur_jobs gauge
murmur_jobs{status="queued"} 3.0
"""
_HEALTH = {
    "status": "ok",
    "memory_percent": 41.3,
    "active_tasks": 2,
    "ledger": True,
    "workers": 1,
    "queued_audio_s": 610.5,
    "version": "0.1.0",
    "commit": "3e6eb3cc0077aa64765f9268bd854b71e7f62f45",
}
_READY = {"status": "ready", "ledger": True, "ledger_full": False, "workers": 1}
_REFUSAL = {"code": "disk_full", "message": "0.4 GB of disk are free; 1.0 GB are needed"}
_HOST = "Invalid host header"
_LANGUAGES = [{"code": "de", "name": "german"}, {"code": "en", "name": "english"}]
_SECRET = {"id": "whs_3f0e7c1c", "created_at": TIME}
_WEBHOOKS = {
    "url": "https://example.com/hook",
    "messages": [
        {
            "id": "msg_3f0e7c1c",
            "type": "job.completed",
            "timestamp": TIME,
            "state": "delivered",
            "attempts": 1,
            "next_try_at": None,
        }
    ],
    "tries": [
        {
            "message": "msg_3f0e7c1c",
            "at": TIME,
            "attempt": 1,
            "outcome": "delivered",
            "status": 204,
            "error": None,
            "took_s": 0.08,
        }
    ],
}
_SERVER = {"text": _TEXT, "processing_time": 1.2, "model": "whisper-1", "format": "wav"}
_CHAT = _SERVER | {
    "id": f"chatcmpl-{ID}",
    "created": 1764158400,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": _TEXT, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 0, "completion_tokens": 5, "total_tokens": 5},
}
_MICRO = {
    "text": _TEXT,
    "language": "en",
    "language_probability": 0.98,
    "duration": 2.5,
    "segments": [
        {"id": 0, "start": 0.0, "end": 2.4, "text": _TEXT, "confidence": 0.91, "words": None},
    ],
    "processing_time": 0.8,
}
_MICRO_JOB = {
    "job_id": ID,
    "status": "completed",
    "progress": 100,
    "created_at": TIME,
    "started_at": TIME,
    "completed_at": TIME,
    "filename": "meeting.mp3",
    "model": "base",
    "result": _MICRO,
    "error": None,
}
_SERVE = {"success": True, "text": _TEXT, "latency": 1.2, "word_count": 3, "gpu_memory": 0.0, "error": None}
_SCALE_SUBMITTED = {"job_id": ID, "status": "queued", "message": "Transcription job submitted successfully"}
_SCALE = VERBOSE | {"language": "en", "job_id": ID, "status": "completed", "processing_time": 0.8, "cached": False}
_OPENAI: Answers = {
    ("200", JSON): {"text": _TEXT, "languages": [{"code": "en"}], "usage": _USAGE},
    **_TEXTS,
    ("200", EVENTS): _OPENAI_STREAM,
}


def _form(**options: Any) -> dict[str, Any]:
    return {FORM: {"file": _BYTES, **options}}


REQUESTS: dict[str, dict[str, Any]] = {
    "submit_job": {
        **_form(language="en", word_timestamps=True),
        JSON: {
            "audio": _AUDIO,
            "filename": "hello.wav",
            "language": "en",
            "response_format": "srt",
            "word_timestamps": True,
        },
        "application/octet-stream": _BYTES,
    },
    "openai_create_transcription": {
        **_form(model="whisper-1", response_format="verbose_json"),
        JSON: {"audio": _AUDIO, "model": "whisper-1", "language": "en"},
    },
    "openai_create_translation": _form(model="whisper-1"),
    "openai_server_create_chat_completion": {
        JSON: {
            "model": "whisper-1",
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": _AUDIO, "format": "wav"}}],
                }
            ],
        }
    },
    "openai_server_audio_info": {FORM: {"file": _BYTES}, JSON: {"audio": _AUDIO}},
    "name_speakers": {JSON: {"A": "Anna", "B": "Bob"}},
    "mlx_mvp_transcribe": _form(language="en"),
    "production_scale_transcribe": _form(language="en", vad_filter=True),
    "microservice_transcribe": _form(response_format="json"),
    "microservice_submit": _form(language="en"),
}

RESPONSES: dict[str, Answers] = {
    "submit_job": {("200", JSON): JOB, ("202", JSON): JOB | {"status": "queued"}},
    "list_jobs": {("200", JSON): {"jobs": [JOB], "cursor": None}},
    "get_job": {("200", JSON): JOB},
    "cancel_job": {("200", JSON): JOB | {"status": "canceled"}},
    "name_speakers": {("200", JSON): JOB | {"speakers": {"A": "Anna", "B": "Bob"}}},
    "get_transcript": {("200", JSON): _PLAIN, **_TEXTS},
    "follow_job": {("200", EVENTS): _FOLLOWED},
    "get_webhook_log": {("200", JSON): _WEBHOOKS},
    "replay_webhook": {("202", JSON): _WEBHOOKS},
    "list_webhook_secrets": {("200", JSON): {"secrets": [_SECRET]}},
    "create_webhook_secret": {("201", JSON): {**_SECRET, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}},
    "list_models": {("200", JSON): {"object": "list", "data": [MODEL]}},
    "list_languages": {("200", JSON): {"languages": _LANGUAGES}},
    "get_health": {
        ("200", JSON): _HEALTH,
        ("503", JSON): _HEALTH | {"status": "unavailable", "ledger": False, "workers": 0},
        ("400", "text/plain"): _HOST,
    },
    "get_liveness": {("200", JSON): {"status": "alive"}, ("400", "text/plain"): _HOST},
    "get_readiness": {
        ("200", JSON): _READY,
        ("503", JSON): _READY | {"status": "not ready", "refusal": _REFUSAL},
        ("400", "text/plain"): _HOST,
    },
    "get_queue_health": {
        ("200", JSON): {
            "status": "ok",
            "ledger": True,
            "queue": {"spans": 4, "audio_seconds": 610.5, "oldest_age_s": 3.2},
            "running_spans": 2,
            "workers": [WORKER],
        }
    },
    "get_stats": {("200", JSON): STATS},
    "get_metrics": {
        ("200", "text/plain"): _METRICS,
        ("200", JSON): {
            "total_requests": 12,
            "accepted_requests": 11,
            "rejected_requests": 1,
            "avg_processing_time_ms": 8.5,
        },
    },
    "get_ledger_metrics": {("200", "text/plain"): _LEDGER_METRICS},
    "get_metrics_targets": {("200", "application/json"): [{"targets": ["192.168.1.20:9464"]}]},
    "list_dead_letters": {("200", JSON): {"dead_letters": [DEAD_LETTER]}},
    "get_dead_letter": {("200", JSON): DEAD_LETTER},
    "openai_create_transcription": _OPENAI,
    "openai_create_translation": _OPENAI,
    "openai_get_model": {("200", JSON): MODEL},
    "openai_server_create_chat_completion": {("200", JSON): _CHAT, ("200", EVENTS): _CHAT_STREAM},
    "openai_server_audio_info": {
        ("200", JSON): {
            "format": "wav",
            "container": "wav",
            "codec": "pcm_s16le",
            "sample_rate": 16_000,
            "channels": 1,
            "duration": 3.2,
            "size_bytes": 102_444,
        }
    },
    "mlx_mvp_transcribe": {("200", JSON): {"text": _TEXT}},
    "production_scale_transcribe": {("200", JSON): _SERVE, ("202", JSON): _SCALE_SUBMITTED},
    "production_scale_get_status": {("200", JSON): JOB | {"job_id": ID}},
    "production_scale_get_result": {("200", JSON): _SCALE},
    "microservice_transcribe": {
        ("200", JSON): _MICRO,
        ("200", "text/plain"): f"{_TEXT}\n",
        ("200", "application/x-subrip"): _SRT,
        ("200", "text/vtt"): _VTT,
    },
    "microservice_submit": {
        ("202", JSON): {
            "job_id": ID,
            "status": "pending",
            "message": "Transcription job accepted and queued for processing",
            "status_url": f"/api/v1/status/{ID}",
            "estimated_time": 30,
        }
    },
    "microservice_get_status": {("200", JSON): _MICRO_JOB},
    "microservice_list_jobs": {
        ("200", JSON): {"jobs": [_MICRO_JOB | {"result": None}], "total": 1, "cursor": None},
    },
    "microservice_cancel_job": {
        ("200", JSON): _MICRO_JOB
        | {"status": "failed", "result": None, "error": "the job was canceled", "message": "Job canceled"}
    },
    "microservice_delete_job": {("200", JSON): {"job_id": ID, "message": "Job deleted"}},
    "microservice_list_models": {("200", JSON): {"models": [MODEL | {"name": "base"}], "default": "base"}},
    "microservice_list_languages": {("200", JSON): {"languages": _LANGUAGES, "total": 2}},
}
