"""The sound of recordings: decoded once a host from the blob, and kept for the recording's further spans."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

from transcription.computation import Claim
from transcription.encryption.files import file_encryption
from transcription.errors import BlobMissing
from transcription.media.decoder import Decoder
from transcription.media.recording import Recording
from transcription.media.scratch import Draft, Scratch
from transcription.ports import BlobStore
from transcription.settings import Settings
from transcription.storage.verify import Verified
from worker.leases import Held

SPANS = 1024
"""More than a worker has in work at once: none waits for another's."""


class Sounds:
    """Gives the sound of what is claimed: from this host's scratch, or decoded into it, once whoever asks."""

    def __init__(self, blobs: BlobStore, decoder: Decoder, settings: Settings) -> None:
        self._blobs = blobs
        self._decoder = decoder
        encryption = file_encryption(settings)
        self._verify = Verified(blobs.set_aside, encryption)
        self._scratch = Scratch(settings.pcm_dir, encryption)
        self._beside = ThreadPoolExecutor(SPANS, "verify")

    def of(self, held: Held, scratch: ExitStack) -> tuple[Recording, Draft | None]:
        """
        A claimed recording as its options have it.

        Returns:
            The recording, good until *scratch* ends, and the draft to keep it in, None where it is kept already.

        Raises:
            BlobMissing, BlobDamaged, InvalidAudio, Stopped.
        """
        name = held.claim.computation
        with suppress(BlobMissing):
            return self._scratch.found(name), None
        draft = scratch.enter_context(self._scratch.draft(name, waiting=lambda: touch_and_check(held)))
        with suppress(BlobMissing):
            return self._scratch.found(name), None
        return self._decode(held, draft), draft

    def load(self, held: Held, scratch: ExitStack) -> Recording:
        """The sound of a span that was prepared before; a host that doesn't have it decodes once more."""
        recording, draft = self.of(held, scratch)
        if draft:
            held.check()
            draft.keep(recording)
        return recording

    def forget(self, claim: Claim) -> None:
        """Delete it; nobody needs it any more."""
        self._scratch.drop(claim.computation)

    def _decode(self, held: Held, draft: Draft) -> Recording:
        decoding = held.claim.decoding
        sha256 = held.claim.audio_sha256
        path = self._blobs.fetch(sha256, progressed=lambda: touch_and_check(held))
        # Compared with its name while the sandbox decodes it, on another core: what is damaged is never used, whichever
        # of the two ends first.
        verified = self._beside.submit(self._verify, path, sha256, progressed=lambda: touch_and_check(held))
        try:
            recording = self._decoder.decode(
                path,
                draft.file,
                progressed=held.touch,
                check=held.check,
                track=decoding.audio_track,
                language=decoding.language,
                channel=decoding.channel,
            )
        finally:
            verified.result()  # damage is the reason of whatever the decoder met
        # It may have been cut while it was read; the file is read again only if it has changed.
        self._verify(path, sha256, progressed=lambda: touch_and_check(held))
        if decoding.normalize:
            recording.normalize()
        return recording


def touch_and_check(held: Held) -> None:
    """Say that there is progress, and stop where nobody wants it any more."""
    held.touch()
    held.check()
