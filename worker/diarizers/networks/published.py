"""Speaker-embedding networks by the names under which they are published in ONNX."""

from contextlib import suppress
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from transcription.errors import ModelUnavailable

REPOSITORY = "csukuangfj/speaker-embedding-models"
"""On the hub: WeSpeaker's, 3D-Speaker's and NeMo's networks with sherpa-onnx's metadata, a file each."""


def located(name: str, *, cache: Path) -> Path:
    """
    The file of the network *name*, as `wespeaker_en_voxceleb_resnet34_LM`; fetched once, and then from this disk.

    Raises:
        ModelUnavailable: it isn't on this disk, and the hub doesn't give it.
    """
    file = f"{name.removesuffix('.onnx')}.onnx"
    try:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(REPOSITORY, file, cache_dir=str(cache), local_files_only=True))
        return Path(hf_hub_download(REPOSITORY, file, cache_dir=str(cache)))
    except Exception as error:  # the hub's errors have no common base
        raise ModelUnavailable(
            f"there is no speaker network {name!r}: no such file, and {REPOSITORY} on the hub doesn't give it "
            f"({str(error)[:200]}) (MURMUR_WORKER__DIARIZER)"
        ) from error
