"""A part of the settings, and paths in them."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Part(BaseModel):
    """A group of settings; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def expanded(path: Path) -> Path:
    """*path* with its `~` replaced, since no shell reads a `.env`. ValueError: there is no such home directory."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("there is no home directory that its ~ could mean") from error


HomePath = Annotated[Path, AfterValidator(expanded)]
"""A path that may begin with `~`, as people write it."""
