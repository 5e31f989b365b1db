"""All settings, frozen and typed, read once at the entry point and handed down."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from transcription.models import PUBLISHED_NAMES, implied_aliases
from transcription.settings.outbound import Outbound, Webhook
from transcription.settings.section import Part
from transcription.settings.security import STRICT, Security


class Ledger(Part):
    """Where the truth is kept."""

    url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Redis of the ledger: `noeviction`, AOF.")
    broker_url: SecretStr | None = Field(None, description="Redis of Celery's hints; nothing: the ledger's.")
    cache_url: SecretStr | None = Field(None, description="Redis of the rate limits, may evict; nothing: the ledger's.")
    wait_aof: bool = Field(False, description="Answer a submit only when the server has synced it to disk (WAITAOF).")
    hint_timeout_s: int = Field(60, gt=0, description="Age at which a hint that a dead worker took is sent again.")
    timeout_s: float = Field(0.8, gt=0, description="How long the API waits for the ledger before it answers 503.")
    audit_length: int = Field(100_000, ge=0, description="State moves kept in the ledger's audit stream.")

    def broker(self) -> str:
        """The broker's URL, with its password."""
        return (self.broker_url or self.url).get_secret_value()

    def cache(self) -> str:
        """The cache's URL, with its password."""
        return (self.cache_url or self.url).get_secret_value()


class Lease(Part):
    """How long a worker may hold a span without a sign of progress, and what happens when it does."""

    ttl_s: float = Field(20.0, gt=0, description="A lease's length.")
    renew_s: float = Field(5.0, gt=0, description="Time between two signs of life of a worker.")
    look_s: float = Field(1.0, gt=0, description="Time between renewals, each of which also hears of cancels.")
    reap_s: float = Field(2.0, gt=0, description="Time between two looks for expired leases.")
    stall_s: float = Field(120.0, gt=0, description="Without progress for so long, a span isn't renewed any more.")
    max_attempts: int = Field(3, ge=1, description="Attempts at a span before its computation fails.")
    platform_patience_s: float = Field(
        6 * 3600.0, gt=0, description="How long a span is tried again while only the platform is at fault."
    )


class Limits(Part):
    """What the platform takes."""

    max_upload_bytes: int = Field(1 << 30, gt=0, description="Largest upload.")
    max_duration_s: float = Field(12 * 3600.0, gt=0, description="Longest recording.")
    max_queue_audio_s: float = Field(500 * 3600.0, gt=0, description="Audio waiting before submits get 503.")
    max_memory_percent: float = Field(95.0, gt=0, le=100, description="Memory in use before submits get 503.")
    min_free_disk_bytes: int = Field(1 << 30, ge=0, description="Disk left free before submits get 503.")
    upload_timeout_s: float = Field(30.0, gt=0, description="Longest silence in the middle of an upload.")
    max_upload_s: float = Field(3600.0, gt=0, description="Longest time that a whole upload may take.")
    min_upload_bytes_per_s: int = Field(
        1000, ge=0, description="Slowest upload, as a mean after `upload_timeout_s`; 0: as slow as it likes."
    )


class Retention(Part):
    """How long things are kept."""

    result_ttl_s: int = Field(86_400, gt=0, description="A finished job and its result.")
    tombstone_ttl_s: int = Field(7 * 86_400, gt=0, description="The word `expired` in a job's place.")
    sweep_s: float = Field(60.0, gt=0, description="Time between two sweeps.")
    dead_letter_ttl_s: int = Field(
        30 * 86_400, gt=0, description="A dead letter with its jobs and audio, whatever its jobs' own retention."
    )
    orphan_s: float = Field(3600.0, gt=0, description="Age at which bytes that no job holds are deleted.")


class Api(Part):
    """The HTTP side."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on.")
    health_status: str = Field("ok", description="The word that /health says when all is well.")
    max_wait_s: float = Field(60.0, gt=0, description="Longest long-poll.")
    stop_s: int = Field(10, ge=0, description="How long a stop waits for requests that are under way.")
    max_sync_s: float = Field(3600.0, gt=0, description="Longest wait of a synchronous transcription; then 409.")
    sync_ttl_s: int = Field(
        3600, ge=60, le=30 * 86400, description="How long the result of a synchronous transcription is kept."
    )
    metrics_format: Literal["prometheus", "json"] = Field(
        "prometheus", description="What /metrics gives to clients that ask for nothing."
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may call the API; `*`: any.")
    trusted_hosts: tuple[str, ...] = Field(("*",), description="Names that a request's Host may have; `*`: any.")
    rapidapi_secret: SecretStr | None = Field(
        None, description="What X-RapidAPI-Proxy-Secret must say on /v1/transcribe; nothing: it isn't asked for."
    )


class Blobs(Part):
    """Where uploads are kept, and how they get to workers on other hosts."""

    url: str = Field(
        "",
        pattern=r"^(|s3://.+|https?://.+)$",
        description="`s3://bucket/folder`; for workers alone also the API's URL; nothing: the data directory.",
    )
    endpoint: str = Field("", description="URL of a server that speaks S3 and isn't Amazon's.")
    secret: SecretStr | None = Field(
        None, min_length=16, description="Signs links to audio on the API; nothing: the API has no such links."
    )
    link_ttl_s: float = Field(120.0, gt=0, description="How long a link is good for.")
    cache_bytes: int = Field(10 << 30, ge=0, description="Disk for copies of what is kept elsewhere.")

    def signing_key(self) -> str:
        """The secret. ValueError: there is none."""
        if self.secret is None:
            raise ValueError("MURMUR_BLOBS__URL is an API's, so MURMUR_BLOBS__SECRET must be set, to the API's own")
        return self.secret.get_secret_value()


class Needs(Part):
    """What a model's jobs need of a worker."""

    engine: str | None = None
    device: str | None = None

    def given(self) -> dict[str, str]:
        """Those that are set."""
        return {kind: value for kind, value in self.model_dump().items() if value}


class Mlx(Part):
    """MLX's memory on a Mac, which models share with everything else there."""

    memory_bytes: int = Field(0, ge=0, description="Memory that MLX keeps to; 0: its own choice for the machine.")
    cache_bytes: int = Field(256 << 20, ge=0, description="Freed buffers that MLX may keep for later.")


class Worker(Part):
    """The computing side."""

    engine: str = Field(
        "auto",
        pattern=r"^(auto|faster_whisper|mlx_whisper|[\w.]+:\w+)$",
        description="`faster_whisper`, `mlx_whisper`, `package.module:factory`, or `auto`: MLX on a Mac that has it.",
    )
    languages: tuple[str, ...] = Field((), description="ISO 639-1 codes that this worker is for; none: all of them.")
    slots: int = Field(
        0, ge=0, description="Spans in work at the same time in one process; 0: what keeps its model workers busy."
    )
    model_workers: int = Field(0, ge=0, description="Model replicas that compute in parallel; 0: one for each core.")
    threads: int = Field(1, ge=1, description="Threads of each model replica.")
    batch: int = Field(0, ge=0, description="Windows decoded together; 0: 4 on a CPU, what fits on a GPU.")
    encoder: Literal["auto", "ctranslate2", "openvino"] = Field(
        "auto", description="What encodes on a CPU; `auto`: the faster one, measured at a model's first load."
    )
    encoder_precision: Literal["auto", "int8", "bf16", "f32"] = Field(
        "auto", description="Arithmetic of OpenVINO's encoder; `auto`: the fastest that writes no more word errors."
    )
    max_models: int = Field(1, ge=1, description="Models kept in memory; the least recently used goes first.")
    idle_unload_s: float = Field(
        600.0, ge=0, description="Idle time after which a model's memory is given back; 0: never."
    )
    quarantine_after: int = Field(
        3,
        ge=1,
        description="Faults of storage or disk in a row after which a worker stops to claim until a probe passes.",
    )
    span_s: float = Field(300.0, gt=0, description="Length at which long recordings are cut into spans.")
    metrics_port: int = Field(0, ge=0, le=65_535, description="Port of the worker's own /metrics; 0: none.")
    mlx: Mlx = Mlx()


class _Profile(PydanticBaseSettingsSource):
    """The defaults of the profile that the sources before this one have chosen."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Nothing comes field by field."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the profile sets."""
        return STRICT if self.current_state.get("profile") == "strict" else {}


class Settings(BaseSettings):
    """Settings of the whole platform: environment variables that start with MURMUR_, parts nested by `__`."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="MURMUR_",
        env_nested_delimiter="__",
        extra="forbid",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it may be a secret
    )

    profile: Literal["open", "strict"] = Field(
        "open", description="`strict`: defaults for the open internet; see SECURITY.md."
    )
    model: str = Field("auto", description="Model to serve: `demo`, `auto`, a published name, or a directory.")
    models: tuple[str, ...] = Field((), description="Further models that clients may ask for.")
    model_aliases: dict[str, str] = Field(
        default_factory=dict, description="Names that stand for a model; with `demo`, every published name does."
    )
    needs: dict[str, Needs] = Field(
        default_factory=dict, description='What a model asks of workers: `{"large-v3": {"device": "cuda"}}`.'
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    compute_type: str = Field("auto", description="Arithmetic; `auto`: int8 on a CPU, float16 on a GPU.")
    data_dir: Path = Field(Path.home() / ".murmur", description="Uploads, models and the embedded ledger.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")
    log_format: Literal["json", "text"] = Field("json", description="Log lines for machines or for people.")
    ledger: Ledger = Ledger()
    lease: Lease = Lease()
    limits: Limits = Limits()
    blobs: Blobs = Blobs()
    retention: Retention = Retention()
    api: Api = Api()
    security: Security = Security()
    outbound: Outbound = Outbound()
    webhook: Webhook = Webhook()
    worker: Worker = Worker()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *args: PydanticBaseSettingsSource, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the profile's defaults behind everything that is set."""
        return (*args, *sources.values(), _Profile(settings_cls))

    def aliases(self) -> dict[str, str]:
        """All names that stand for a served model."""
        if self.model == "demo":
            return dict.fromkeys(PUBLISHED_NAMES, self.model) | self.model_aliases
        return implied_aliases(self.model, self.served) | self.model_aliases

    @property
    def served(self) -> frozenset[str]:
        """Every model that may be asked for by its own name."""
        return frozenset({self.model, *self.models})

    @property
    def blob_dir(self) -> Path:
        """Where uploads lie."""
        return self.data_dir / "blobs"

    @property
    def copy_dir(self) -> Path:
        """Where copies lie of what is kept elsewhere, apart from the uploads of a platform on this machine."""
        return self.data_dir / "copies"

    @property
    def pcm_dir(self) -> Path:
        """Where the decoded sound of long recordings lies while they are in work."""
        return self.data_dir / "pcm"

    @property
    def model_dir(self) -> Path:
        """Where models lie."""
        return self.data_dir / "models"
