"""
mlx-whisper as an engine: Metal on Apple silicon, and the CPU elsewhere.

Its network stands where CTranslate2's would: prompts, temperatures, thresholds, segments and the timing of words are
those of the faster-whisper engine, so that a job reads the same whichever worker of a mixed flock took it.
"""

from contextlib import suppress
from pathlib import Path

import httpx
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

import demo
from transcription.errors import ModelUnavailable
from transcription.models import CHECKPOINTS
from transcription.settings import Settings
from worker.engines.choice import choose
from worker.engines.cpu_layout import CpuLayout
from worker.engines.faster_whisper import FasterWhisper
from worker.engines.mlx.model import MlxModel
from worker.engines.mlx.weights import DTYPES, WEIGHTS

BATCH = 1
FILES = ["config.json", "tokenizer.json", *WEIGHTS]
# Where the hub's names don't follow the pattern.
REPOSITORIES = {
    "large": "mlx-community/whisper-large-v3-mlx",
    "turbo": "mlx-community/whisper-large-v3-turbo",
    "large-v3-turbo": "mlx-community/whisper-large-v3-turbo",
    "distil-large-v3": "mlx-community/distil-whisper-large-v3",
    "distil-medium.en": "mlx-community/distil-whisper-medium.en",
}


class MlxWhisper(WhisperModel):  # type: ignore[misc]
    """faster-whisper's own code over a model in MLX."""

    def __init__(self, model: MlxModel) -> None:
        """Take the place of the original's, which loads a CTranslate2 model."""
        self.model = model
        self.hf_tokenizer = model.hf_tokenizer
        self.feature_extractor = FeatureExtractor(feature_size=model.n_mels)
        self.input_stride = 2
        self.frames_per_second = 100
        self.tokens_per_second = 50
        self.time_precision = 0.02
        self.max_length = 448


def open_model(name: str, settings: Settings) -> FasterWhisper:
    """
    Locate and load the model *name*.

    Raises:
        ModelUnavailable: there is no such model in MLX's form, or it can't be had now.
    """
    directory = locate(name, settings)
    chosen = choose(settings)
    if chosen.compute_type not in DTYPES:
        raise ModelUnavailable(
            f"MLX doesn't compute in {chosen.compute_type!r}; take {', '.join(DTYPES)}, or a model whose weights are "
            "quantized (MURMUR_COMPUTE_TYPE)"
        )
    try:
        model = MlxModel(directory, device=chosen.device, compute_type=chosen.compute_type, limits=settings.worker.mlx)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelUnavailable(f"model {name!r} in {directory} can't be loaded by MLX: {error}") from error
    # One replica: the batcher has one thread, and all of its work is done on MLX's.
    plan = CpuLayout(workers=1, threads=1, batch=settings.worker.batch or BATCH)
    return FasterWhisper(name, MlxWhisper(model), plan)


def locate(name: str, settings: Settings) -> Path:
    """
    Find the directory of *name* in MLX's form: `demo`, a directory, a repository of the hub, or a published name.

    Raises:
        ModelUnavailable: there is none, or it can't be fetched now.
    """
    if name == "demo":
        try:
            return demo.export_mlx(settings.model_dir / f"demo-mlx-{demo.REVISION}")
        except OSError as error:
            raise ModelUnavailable(f"the demo model can't be written into {settings.model_dir}: {error}") from error
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked(path)
    if path.is_absolute() or (name not in CHECKPOINTS and name.count("/") != 1):
        raise ModelUnavailable(
            f"model {name!r} is neither `demo`, nor a directory on this machine, nor a repository such as "
            f"mlx-community/whisper-large-v3-mlx, nor one of {', '.join(CHECKPOINTS)}"
        )
    return _fetch(_repository(name), str(settings.model_dir))


def local(name: str, settings: Settings) -> Path | None:
    """Where the files of the model *name* lie on this host already; None: nowhere yet."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    with suppress(LocalEntryNotFoundError, ModelUnavailable, ValueError, OSError):
        repository, cache = _repository(name), str(settings.model_dir)
        return _checked(
            Path(snapshot_download(repository, cache_dir=cache, allow_patterns=FILES, local_files_only=True))
        )
    return None


def _repository(name: str) -> str:
    return name if "/" in name else REPOSITORIES.get(name, f"mlx-community/whisper-{name}-mlx")


def _checked(directory: Path) -> Path:
    if not (directory / "config.json").is_file() or not any((directory / name).is_file() for name in WEIGHTS):
        raise ModelUnavailable(f"{directory} is no MLX Whisper model: it needs config.json and {' or '.join(WEIGHTS)}")
    return directory


def _fetch(repository: str, cache: str) -> Path:
    # What is here may be the beginning of a download that was cut.
    with suppress(LocalEntryNotFoundError, ModelUnavailable, ValueError, OSError):
        return _checked(
            Path(snapshot_download(repository, cache_dir=cache, allow_patterns=FILES, local_files_only=True))
        )
    try:
        return _checked(Path(snapshot_download(repository, cache_dir=cache, allow_patterns=FILES)))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, ValueError, OSError) as error:
        message = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(
            f"{repository} isn't in {cache} and can't be fetched from the hub ({message[0]}); "
            "set MURMUR_MODEL=demo, or name a directory that holds an MLX model"
        ) from error
