"""Uses a package that openapi-python-client wrote: `python generated.py URL FILE`, the package `made` beside it."""

import io
import json
import sys
from pathlib import Path

from made import Client
from made.api.jobs import get_job, get_transcript, list_jobs, submit_job
from made.api.models import list_languages, list_models
from made.api.openai import openai_create_transcription
from made.api.stats import get_stats
from made.models import (
    JobOut,
    JobsOut,
    OpenAITranscription,
    OpenAITranscriptionForm,
    Problem,
    ResponseFormat,
    Status,
    SubmitForm,
    VerboseTranscript,
)
from made.types import File

url, path = sys.argv[1:]
client = Client(base_url=url, timeout=60.0)


def recording() -> File:
    return File(payload=io.BytesIO(Path(path).read_bytes()), file_name="made.flac", mime_type="audio/flac")


job = submit_job.sync(client=client, body=SubmitForm(file=recording(), language="en"), prefer="wait=60")
assert isinstance(job, JobOut), job
raw = submit_job.sync(client=client, body=recording(), language="en", filename="raw.flac", beam_size=3)
assert isinstance(raw, JobOut), raw
page = list_jobs.sync(client=client, status=Status.COMPLETED)
assert isinstance(page, JobsOut), page
verbose = get_transcript.sync(job.id, client=client, format_=ResponseFormat.VERBOSE_JSON)
assert isinstance(verbose, VerboseTranscript), verbose
missing = get_job.sync("0" * 32, client=client)
assert isinstance(missing, Problem), missing
spoken = openai_create_transcription.sync(client=client, body=OpenAITranscriptionForm(file=recording()))
assert isinstance(spoken, OpenAITranscription), spoken
print(
    json.dumps(
        {
            "status": job.status,
            "raw": raw.audio.filename,
            "beams": raw.options.beam_size,
            "jobs": job.id in [one.id for one in page.jobs],
            "models": len(
                [model for model in list_models.sync(client=client).data if model.default and model.alias_of is None]
            ),
            "languages": len(list_languages.sync(client=client).languages),
            "workers": len(get_stats.sync(client=client).workers),
            "missing": missing.code,
            "segments": [segment.text.strip() for segment in verbose.segments],
            "spoken": spoken.text,
        }
    )
)
