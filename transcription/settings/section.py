"""A part of the settings."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A group of settings; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
