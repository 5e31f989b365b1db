"""The sound of recordings: decoded once from the blob, and kept for the recording's further spans."""

from pathlib import Path

from transcription.computation import Claim
from transcription.encryption.files import file_encryption
from transcription.errors import BlobMissing
from transcription.media.audio import normalize
from transcription.media.decoder import Decoder
from transcription.media.recording import Recording, Sound, StoredRecording, write_pcm
from transcription.ports import BlobStore
from transcription.settings import Settings
from transcription.storage.verify import Verified
from worker.leases import Held


class Sounds:
    """Gives the sound of what is claimed."""

    def __init__(self, blobs: BlobStore, decoder: Decoder, settings: Settings) -> None:
        self._blobs = blobs
        self._decoder = decoder
        self._encryption = file_encryption(settings)
        self._verify = Verified(blobs.set_aside, self._encryption)
        self._directory = settings.pcm_dir

    def decode(self, held: Held) -> Recording:
        """Decode a claimed recording as its options have it. BlobMissing, BlobDamaged, InvalidAudio, Stopped."""
        decoding = held.claim.decoding
        sha256 = held.claim.audio_sha256
        path = self._blobs.fetch(sha256, progressed=lambda: touch_and_check(held))
        self._verify(path, sha256, progressed=lambda: touch_and_check(held))
        recording = self._decoder.decode(
            path, progressed=held.touch, check=held.check, track=decoding.audio_track, language=decoding.language
        )
        # It may have been cut while it was read; the file is read again only if it has changed.
        self._verify(path, sha256, progressed=lambda: touch_and_check(held))
        if decoding.normalize:
            normalize(recording.samples)
        return recording

    def load(self, held: Held) -> Sound:
        """The sound of a span that was prepared before; a host that doesn't have it decodes once more."""
        try:
            return StoredRecording(self._path(held.claim), self._encryption)
        except BlobMissing:
            recording = self.decode(held)
            held.check()
            self.keep(held.claim, recording)
            return recording

    def keep(self, claim: Claim, recording: Recording) -> None:
        """Store what was decoded for the recording's further spans."""
        self._directory.mkdir(parents=True, exist_ok=True)
        write_pcm(self._path(claim), recording.samples, recording.holes, encryption=self._encryption)

    def forget(self, claim: Claim) -> None:
        """Delete it; nobody needs it any more."""
        self._path(claim).unlink(missing_ok=True)

    def _path(self, claim: Claim) -> Path:
        return self._directory / f"{claim.computation}.pcm"


def touch_and_check(held: Held) -> None:
    """Say that there is progress, and stop where nobody wants it any more."""
    held.touch()
    held.check()
