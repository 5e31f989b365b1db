"""What is wrong with a request: its form, its audio, or who sends it."""

from transcription.errors.base import MurmurationError


class InvalidRequest(MurmurationError):
    """The request itself is wrong."""


class MalformedRequest(InvalidRequest):
    """The body or a parameter can't be parsed."""

    code = "malformed_request"


class InvalidReference(InvalidRequest):
    """A known speaker's sample is no audio, no data URL, or not of the length that it must have."""

    code = "invalid_reference"


class ReferenceWithoutSpeech(InvalidRequest):
    """Nobody speaks in a known speaker's sample."""

    code = "reference_without_speech"


class MissingFile(InvalidRequest):
    """No audio came with the request."""

    code = "missing_file"


class TooManyFiles(InvalidRequest):
    """More than one file came with the request."""

    code = "too_many_files"


class EmptyFile(InvalidRequest):
    """The file has no bytes."""

    code = "empty_file"


class BadBase64(InvalidRequest):
    """The audio field isn't valid base64."""

    code = "bad_base64"


class UploadIncomplete(InvalidRequest):
    """The connection ended before the body did."""

    code = "upload_incomplete"
    retryable = True


class UnknownOption(InvalidRequest):
    """A field that no option has."""

    code = "unknown_option"


class InvalidOption(InvalidRequest):
    """An option's value is of the wrong type or out of range."""

    code = "invalid_option"


class ModelNotServed(InvalidRequest):
    """No worker of this platform serves the model."""

    code = "model_not_served"


class IdempotencyConflict(InvalidRequest):
    """The idempotency key was used before with another payload."""

    code = "idempotency_conflict"


class UrlNotAllowed(InvalidRequest):
    """The URL leads where the platform doesn't go, or it takes none."""

    code = "url_not_allowed"


class UrlUnreachable(InvalidRequest):
    """Nothing can be had from the URL now."""

    code = "url_unreachable"
    retryable = True


class InvalidAudio(MurmurationError):
    """The audio can't be transcribed, whoever tries."""


class TooLarge(InvalidAudio):
    """More bytes than the platform takes."""

    code = "too_large"


class UnsupportedMedia(InvalidAudio):
    """The bytes are no audio or video that the decoder knows."""

    code = "unsupported_media"


class NoAudioStream(InvalidAudio):
    """A video, or another container, without sound."""

    code = "no_audio_stream"


class NoSamples(InvalidAudio):
    """Audio that decodes to nothing."""

    code = "no_samples"


class TooLong(InvalidAudio):
    """More seconds than the platform takes."""

    code = "too_long"


class IndexMissing(InvalidAudio):
    """The file ends before the table that says where its sound is: a recorder didn't get to write it."""

    code = "index_missing"


class CorruptAudio(InvalidAudio):
    """The decoder gave up on the stream before it gave any usable sound."""

    code = "corrupt_audio"


class NotAllowed(MurmurationError):
    """Who asks may not do this."""


class Unauthorized(NotAllowed):
    """No API key came with the request, or one that isn't valid."""

    code = "unauthorized"


class Forbidden(NotAllowed):
    """This isn't allowed."""

    code = "forbidden"
