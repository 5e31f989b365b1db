"""Settings of the HTTP side, and what it accepts."""

from typing import Literal, get_args

from pydantic import Field, SecretStr

from transcription.settings.section import Part


class Limits(Part):
    """What the platform takes."""

    max_upload_bytes: int = Field(1 << 30, gt=0, description="Largest upload.")
    max_duration_s: float = Field(12 * 3600.0, gt=0, description="Longest recording.")
    max_channels: int = Field(16, ge=2, le=99, description="Most channels that `channels=split` takes.")
    max_queue_audio_s: float = Field(500 * 3600.0, gt=0, description="Audio in the queue above which submits get 503.")
    max_memory_percent: float = Field(95.0, gt=0, le=100, description="Memory use above which submits get 503.")
    deadline_interactive_s: int = Field(86_400, gt=0, description="Deadline of interactive jobs that name none.")
    deadline_batch_s: int = Field(7 * 86_400, gt=0, description="Deadline of batch jobs that name none.")
    max_ledger_percent: float = Field(
        90.0, gt=0, le=100, description="Use of the ledger's `maxmemory` above which submits get 503."
    )
    min_free_disk_bytes: int = Field(1 << 30, ge=0, description="Free disk space below which submits get 503.")
    upload_timeout_s: float = Field(30.0, gt=0, description="Longest pause in the middle of an upload.")
    max_upload_s: float = Field(3600.0, gt=0, description="Longest time for a whole upload.")
    min_upload_bytes_per_s: int = Field(
        1000, ge=0, description="Minimum mean speed of an upload, checked after `upload_timeout_s`; 0: no minimum."
    )


Dialect = Literal["openai", "openai_server", "whisper_serve", "production_scale", "mlx_mvp", "microservice"]
"""The other products' APIs, by their names in `api/dialects`."""


class Api(Part):
    """The HTTP side."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on.")
    processes: int = Field(1, ge=0, description="API processes that share the port; 0: one for each core.")
    server: Literal["uvicorn", "granian"] = Field(
        "uvicorn", description="HTTP server; `granian` is an extra, and see docs/scaling.md for what it lacks."
    )
    health_status: str = Field("ok", description="Value of `status` in /health when all is well.")
    max_wait_s: float = Field(60.0, gt=0, description="Longest long poll (`wait`).")
    housekeeping: bool = Field(
        True, description="Expire jobs, send webhooks and take back what lost workers held in the API's processes too."
    )
    poll_log_share: float = Field(
        0.0, ge=0, le=1, description="Share of the status requests answered 200 or 304 that get a line in the log."
    )
    stop_s: int = Field(10, ge=0, description="How long a shutdown waits for running requests.")
    max_sync_s: float = Field(3600.0, gt=0, description="Longest wait of a synchronous transcription; after it, 409.")
    sync_ttl_s: int = Field(
        3600, ge=60, le=30 * 86400, description="How long the result of a synchronous transcription is kept at most."
    )
    metrics_format: Literal["prometheus", "json"] = Field(
        "prometheus", description="Default format of /metrics when there is no Accept header."
    )
    dialects: tuple[Dialect, ...] = Field(
        get_args(Dialect), description="Other products whose clients are served beside the native API; empty: none."
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may call the API; `*`: any.")
    trusted_hosts: tuple[str, ...] = Field(
        (), description="Host headers that clients may send; `*`: any. Default: any, on a loopback address its names."
    )
    rapidapi_secret: SecretStr | None = Field(
        None, description="Required value of X-RapidAPI-Proxy-Secret on /v1/transcribe. Default: not required."
    )
