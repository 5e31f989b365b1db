"""Settings of the computing side."""

from typing import Literal

from pydantic import Field

from transcription.settings.section import Part


class Needs(Part):
    """What a model's jobs need of a worker."""

    engine: str | None = None
    device: str | None = None

    def given(self) -> dict[str, str]:
        """Those that are set."""
        return {kind: value for kind, value in self.model_dump().items() if value}


class Mlx(Part):
    """MLX's memory on a Mac, which models share with everything else there."""

    memory_bytes: int = Field(0, ge=0, description="MLX's memory limit; 0: MLX's default for the machine.")
    cache_bytes: int = Field(256 << 20, ge=0, description="Freed buffers that MLX may keep for reuse.")


class Worker(Part):
    """The computing side."""

    engine: str = Field(
        "auto",
        pattern=r"^(auto|faster_whisper|torch|mlx_whisper|[\w.]+:\w+)$",
        description="`faster_whisper`, `torch`, `mlx_whisper`, `package.module:factory`, `auto` (torch only on a GPU).",
    )
    languages: tuple[str, ...] = Field((), description="ISO 639-1 codes that this worker serves; none: all.")
    slots: int = Field(
        0, ge=0, description="Spans in progress at once in one process; 0: enough to keep its model workers busy."
    )
    model_workers: int = Field(0, ge=0, description="Model replicas that compute in parallel; 0: one per core.")
    threads: int = Field(1, ge=1, description="Threads per model replica.")
    host_workers: int = Field(
        1,
        ge=1,
        description="Workers that divide this host's cores among them; a container's own CPU limit counts first.",
    )
    batch: int = Field(0, ge=0, description="Windows decoded together; 0: 4 on a CPU, as many as fit on a GPU.")
    encoder: Literal["auto", "ctranslate2", "openvino"] = Field(
        "auto", description="Encoder on a CPU; `auto`: the faster one, measured at a model's first load."
    )
    encoder_precision: Literal["auto", "int8", "bf16", "f32"] = Field(
        "auto", description="Number format of OpenVINO's encoder; `auto`: the fastest without more word errors."
    )
    max_models: int = Field(1, ge=1, description="Models kept in memory; the least recently used is unloaded first.")
    idle_unload_s: float = Field(600.0, ge=0, description="Idle time after which a model is unloaded; 0: never.")
    quarantine_after: int = Field(
        3, ge=1, description="Storage or disk faults in a row after which a worker stops claiming until a probe passes."
    )
    span_s: float = Field(300.0, gt=0, description="Length of the spans that long recordings are cut into.")
    diarizer: str = Field(
        "auto",
        description="What distinguishes speakers: `demo`, a speaker-embedding network in ONNX by its path or published "
        "name, `pyannote` (or `pyannote:` and a directory or repository), `sherpa:` and a directory, `off`, or `auto`: "
        "`demo` beside the demo model, else nobody.",
    )
    diarizer_threshold: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Cosine distance up to which two voices are one speaker's; 0: what the network says of itself.",
    )
    webhooks: bool = Field(
        True,
        description="Send webhooks from workers too; off: only the API's processes do, and workers need no secrets.",
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        description="How long a worker that is told to stop may finish what it holds; then it hands it back.",
    )
    metrics_port: int = Field(0, ge=0, le=65_535, description="Port of the worker's own /metrics; 0: off.")
    metrics_address: str = Field(
        "",
        pattern=r"^(auto|[\w.:\[\]-]+)?$",
        description="Host under which /metrics/targets of the API names this worker to Prometheus; `auto`: this "
        "machine's address towards the ledger; empty: Prometheus finds it by itself.",
    )
    mlx: Mlx = Mlx()
