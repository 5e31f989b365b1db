"""
All settings, frozen and typed, read once at the entry point and handed down.

One module for each part; everything is imported from here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from transcription.lanes import lane
from transcription.models import PUBLISHED_NAMES, implied_aliases
from transcription.settings.api import Api, Limits
from transcription.settings.backup import Backup
from transcription.settings.encryption import Encryption
from transcription.settings.environment import Environment, InvalidSettings, explained, names
from transcription.settings.ledger import Lease, Ledger, Retention
from transcription.settings.outbound import Outbound, Webhook
from transcription.settings.retired import without_retired
from transcription.settings.section import HomePath
from transcription.settings.security import STRICT, Networks, Security, Tier, networks
from transcription.settings.storage import Blobs
from transcription.settings.worker import Mlx, Needs, Worker

__all__ = [
    "Api",
    "Backup",
    "Blobs",
    "Encryption",
    "InvalidSettings",
    "Lease",
    "Ledger",
    "Limits",
    "Mlx",
    "Needs",
    "Networks",
    "Outbound",
    "Retention",
    "Security",
    "Settings",
    "Tier",
    "Webhook",
    "Worker",
    "networks",
    "read_settings",
]


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
    models: tuple[str, ...] = Field((), description="More models that clients may ask for.")
    model_aliases: dict[str, str] = Field(
        default_factory=dict, description="Other names for models; with `demo`, every published name is one."
    )
    needs: dict[str, Needs] = Field(
        default_factory=dict, description='What a model requires of a worker: `{"large-v3": {"device": "cuda"}}`.'
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    compute_type: str = Field("auto", description="Number format; `auto`: int8 on a CPU, float16 on a GPU.")
    data_dir: HomePath = Field(Path.home() / ".murmur", description="Uploads, models and the embedded ledger.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Minimum log level.")
    log_format: Literal["json", "text"] = Field(
        "json", description="Log lines for machines (`json`) or for people (`text`)."
    )
    ledger: Ledger = Ledger()
    lease: Lease = Lease()
    limits: Limits = Limits()
    blobs: Blobs = Blobs()
    encryption: Encryption = Encryption()
    backup: Backup = Backup()
    retention: Retention = Retention()
    api: Api = Api()
    security: Security = Security()
    outbound: Outbound = Outbound()
    webhook: Webhook = Webhook()
    worker: Worker = Worker()

    @model_validator(mode="before")
    @classmethod
    def _drop_retired(cls, values: Any) -> Any:
        return without_retired(values)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *args: PydanticBaseSettingsSource, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment as people write it, and put the profile's defaults behind everything that is set."""
        sources["env_settings"] = Environment(settings_cls)
        return (*args, *sources.values(), _Profile(settings_cls))

    def aliases(self) -> dict[str, str]:
        """All names that stand for a served model."""
        if self.model == "demo":
            return dict.fromkeys(PUBLISHED_NAMES, self.model) | self.model_aliases
        return implied_aliases(self.model, self.served) | self.model_aliases

    def lane(self, model: str, *, languages: Iterable[str] = ()) -> str:
        """The lane of jobs for a model: see `transcription.lanes`."""
        return lane(model, languages=languages, needs=self.needs.get(model, Needs()).given())

    @property
    def served(self) -> frozenset[str]:
        """Every model that may be asked for by its own name."""
        return frozenset({self.model, *self.models})

    @property
    def blob_dir(self) -> Path:
        """Where uploads lie."""
        return self.data_dir / "blobs"

    @property
    def backup_dir(self) -> Path:
        """Where scheduled backups lie."""
        return self.backup.dir or self.data_dir / "backups"

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


def read_settings(**given: Any) -> Settings:
    """
    The settings by the environment, as an entry point reads them; *given* wins.

    A FutureWarning tells of each variable that begins as ours and is none.

    Raises:
        InvalidSettings: what can't be used, each with its variable's name.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        raise explained(error, frozenset(names(Settings))) from error
