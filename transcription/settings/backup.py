"""Settings of `murmur backup schedule`."""

from pydantic import Field

from transcription.settings.section import HomePath, Part


class Backup(Part):
    """Scheduled backups: how often, how many are kept, and where copies go."""

    dir: HomePath | None = Field(
        None, description="Directory of scheduled backups. Default: `backups` in the data directory."
    )
    every_s: float = Field(
        86_400.0, gt=0, description="Time between two scheduled backups; `BackupOld` fires after twice as long."
    )
    keep: int = Field(14, ge=1, description="Scheduled backups kept, in the directory and in the bucket.")
    url: str = Field(
        "",
        pattern=r"^(|s3://.+)$",
        description="`s3://bucket/folder` for a copy of each scheduled backup. Default: none.",
    )
    endpoint: str = Field("", description="URL of that bucket's server, if it isn't Amazon's.")
