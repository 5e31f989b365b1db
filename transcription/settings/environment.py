"""The environment as people write it: lists as `a,b`; errors name the variable, and unknown ones are told."""

import difflib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from transcription.settings.secret_files import SecretFileError, from_files

PREFIX = "MURMUR_"
NOT_SETTINGS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "API_KEY", "API_MEMORY", "API_REPLICAS", "BACKUP_ACCESS_KEY_ID", "BACKUP_REGION", "BACKUP_SECRET_ACCESS_KEY",
        "COMMIT", "EDGE_BURST", "EDGE_CONNECTIONS", "EDGE_PROXIES", "EDGE_REPLICAS", "EDGE_REQUESTS_PER_S",
        "ENCRYPTION_KEYS", "FLOWER_BROKER_URL", "FLOWER_PASSWORD", "GPUS", "GRAFANA_PASSWORD", "HTTPS_PORT",
        "HTTP_ADDRESS", "HTTP_PORT", "LEDGER_PORT", "METRICS_RETENTION", "OPERATOR_PASSWORD", "OPERATOR_USER",
        "PARENT_DEATH", "REDIS_LIMIT", "REDIS_MEMORY", "REDIS_PASSWORD", "TLS_DIR", "URL", "VERSION", "VERSION_BEFORE",
        "WORKER_CPUS", "WORKER_MEMORY", "WORKER_REPLICAS",
    )
)  # fmt: skip
"""Variables of the command line, of Compose and of the edge."""


class InvalidSettings(ValueError):
    """Settings that can't be used; each line names a variable, what is wrong and, unless it is secret, the value."""


class Environment(EnvSettingsSource):
    """Environment variables, or files that they name; lists may be `a,b`, and dictionaries `a=b,c=d`, beside JSON."""

    def __call__(self) -> dict[str, Any]:
        """What the variables set; a FutureWarning tells of each that begins as ours and is none."""
        known = frozenset(names(self.settings_cls))
        try:
            self.env_vars = from_files(self.env_vars, known)
        except SecretFileError as error:
            raise InvalidSettings(str(error)) from error
        warn_of_unknown(known, self.env_vars)
        return super().__call__()

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """*value* as JSON, else as people write it; what is neither is left for validation, which names it."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return plain(value, get_origin(field.annotation) if field else None)


def plain(value: str, kind: object) -> Any:
    """A list or dictionary of texts as people, or a shell that ate the quotes, write it."""
    text = value.strip()
    if kind in (tuple, list) and not text.startswith("{") and text.startswith("[") is text.endswith("]"):
        items = text.removeprefix("[").removesuffix("]").split(",")
        return [item.strip().strip("\"'") for item in items if item.strip()]
    if kind is dict and "=" in text and not text.startswith(("{", "[")):
        return dict(_pair(item) for item in text.split(",") if item.strip())
    return value


def _pair(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name.strip(), value.strip()


def explained(error: ValidationError, known: frozenset[str]) -> InvalidSettings:
    """A validation's *error* with the variables' names; *known* are those there are."""
    return InvalidSettings("; ".join(_sentence(problem, known) for problem in error.errors(include_url=False)))


def _sentence(problem: Mapping[str, Any], known: frozenset[str]) -> str:
    parts = [str(part).upper() for part in problem["loc"] if not isinstance(part, int)]
    # Below a dictionary, or a list, what stands there isn't a variable of its own.
    name = next((said for end in range(len(parts), 0, -1) if (said := PREFIX + "__".join(parts[:end])) in known), "")
    if problem["type"] == "extra_forbidden":
        name = PREFIX + "__".join(parts)
        return f"{name}: there is no such setting{nearest(name, known)}"
    name = name or PREFIX + "__".join(parts)
    secret = any(word in name for word in ("SECRET", "URL", "KEY", "PASSWORD"))
    got = "" if secret else f" (got {str(problem['input'])[:80]!r})"
    return f"{name}: {problem['msg']}{got}"


def nearest(name: str, known: frozenset[str]) -> str:
    """« (did you mean …?)» where a known name is near."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def warn_of_unknown(known: frozenset[str], variables: Iterable[str]) -> None:
    """Warn of every one of *variables* that looks like a setting and is none."""
    for name in sorted(variables):
        ours = name.upper().startswith(PREFIX) and name.upper() not in known | NOT_SETTINGS
        if ours and "__" not in name.upper().removeprefix(PREFIX):  # of a part that exists, validation says it
            warnings.warn(f"{name.upper()} is no setting{nearest(name.upper(), known)}", FutureWarning, stacklevel=3)


def names(part: type[BaseModel], prefix: str = PREFIX) -> Iterator[str]:
    """Every variable of *part*."""
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"{prefix}{name.upper()}"
            yield from names(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"
