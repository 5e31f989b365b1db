"""What the script `submit` is told of a job: the computations that it needs, and what it may take."""

import hashlib
import uuid
from typing import Any, Literal

from transcription import lanes
from transcription.job import Audio, Submission
from transcription.ledger.records import computations, values
from transcription.options import Decoding, Diarization, Options, Priority, fingerprint
from transcription.settings import Settings

_DIARIZED = "2"
"""The form of diarizations' results; the first one had no embeddings, by which known speakers are recognised."""


class SubmitRequests:
    """Says what a submission asks of the ledger, by the operator's settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def request(self, submission: Submission) -> dict[str, Any]:
        """What the script `submit` reads as JSON: the job, its computation, and those of speakers and channels."""
        audio, options = submission.audio, submission.options
        first, *further = options.decodings(submission.channels)
        name = self._name(submission, first)
        samples = "".join(sample.sha256 for sample in submission.references)
        payload = hashlib.sha256(f"{name}{options.model_dump_json()}{samples}".encode()).hexdigest()
        return {
            "speakers": self._speakers(submission),
            "references": self._references(submission),
            "channels": [self._channel(submission, decoding) for decoding in further] or False,
            "id": submission.job_id,
            "tenant": submission.tenant,
            "computation": uuid.uuid4().hex,
            "fingerprint": name,
            "payload": payload,
            "cache": options.cache == "on",
            "deadline": self._deadline_s(options) * 1000,
            "idempotency_key": submission.idempotency_key or False,
            "lane": self._settings.lane(submission.model, languages=options.possible_languages),
            "max_jobs": submission.max_jobs,
            "max_bytes": submission.max_bytes,
            "sha": audio.sha256,
            "bytes": audio.bytes,
            "duration": values.ms(audio.duration_s),
            "charged": False if submission.charged_s is None else values.ms(submission.charged_s),
            "filename": audio.filename,
            "model": submission.model,
            "revision": submission.revision,
            "class": options.priority.value,
            "webhook": options.webhook_url or False,
            "request": submission.request_id,
            "trace": submission.traceparent,
            "ttl": (options.ttl_s or self._settings.retention.result_ttl_s) * 1000,
        }

    def _name(self, submission: Submission, decoding: Decoding) -> str:
        name = fingerprint(submission.audio.sha256, submission.model, submission.revision, decoding)
        return self._own(submission, name)

    def _channel(self, submission: Submission, decoding: Decoding) -> dict[str, Any]:
        """The computation of a channel after the first."""
        return {
            "computation": uuid.uuid4().hex,
            "fingerprint": self._name(submission, decoding),
            "lane": self._settings.lane(submission.model, languages=decoding.possible_languages),
            "model": submission.model,
            "decoding": decoding.model_dump_json(exclude_defaults=True),
        }

    def _own(self, submission: Submission, name: str) -> str:
        """A fingerprint as this tenant has it."""
        if self._settings.security.share_results:
            return name
        # Whoever hits another's computation would learn that somebody else has the recording.
        return hashlib.sha256(f"{submission.tenant}/{name}".encode()).hexdigest()

    def _speakers(self, submission: Submission) -> dict[str, Any] | Literal[False]:
        """The computation that says who speaks, where that is asked for."""
        asked = submission.options.diarization()
        if asked is None or submission.diarizer is None:
            return False
        return self._diarization(submission, submission.diarizer, submission.audio, asked)

    def _references(self, submission: Submission) -> list[dict[str, Any]] | Literal[False]:
        """The computations of known speakers' voices: each is a diarization of its sample."""
        if submission.diarizer is None or not submission.references:
            return False
        asked = Diarization(num_speakers=1, reference=True)
        return [
            {
                **self._diarization(submission, submission.diarizer, sample, asked),
                "sha": sample.sha256,
                "filename": sample.filename,
                "duration": values.ms(sample.duration_s),
            }
            for sample in submission.references
        ]

    def _diarization(self, submission: Submission, diarizer: str, audio: Audio, asked: Diarization) -> dict[str, Any]:
        model = lanes.SPEAKERS + diarizer
        return {
            "kind": computations.SPEAKERS,
            "computation": uuid.uuid4().hex,
            "fingerprint": self._own(submission, fingerprint(audio.sha256, model, _DIARIZED, asked)),
            "lane": self._settings.lane(model),
            "model": model,
            "decoding": asked.model_dump_json(exclude_defaults=True),
        }

    def _deadline_s(self, options: Options) -> int:
        limits = self._settings.limits
        by_class = {
            Priority.INTERACTIVE: limits.deadline_interactive_s,
            Priority.BATCH: limits.deadline_batch_s,
        }
        return options.deadline_s or by_class[options.priority]
