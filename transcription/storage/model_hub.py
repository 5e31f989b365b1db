"""The hub that published models come from: whether it can be reached, and what has been fetched from it."""

import os
from pathlib import Path

import httpx

from transcription.models import REPOSITORIES
from transcription.settings import Settings

DEFAULT_MODEL = "base"


def hub_reachable(timeout_s: float = 3.0) -> bool:
    """Ask the hub (`HF_ENDPOINT`, as its own client does) for the default model; False if it doesn't give it."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    address = f"{endpoint.rstrip('/')}/{REPOSITORIES[DEFAULT_MODEL]}/resolve/main/config.json"
    try:
        return httpx.head(address, timeout=timeout_s, follow_redirects=True).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def downloaded(model_dir: Path, model: str = DEFAULT_MODEL) -> bool:
    """Whether the weights of the published *model* lie in *model_dir*, as the hub's client leaves them."""
    snapshots = model_dir / f"models--{REPOSITORIES[model].replace('/', '--')}" / "snapshots"
    return any(path.exists() for path in snapshots.glob("*/model.bin"))


def choose(settings: Settings, *, timeout_s: float = 3.0) -> str:
    """
    Say which model to serve.

    Returns:
        The model that *settings* name. For `auto`: `base` if it has been downloaded or can be, else `demo`.
    """
    if settings.model != "auto":
        return settings.model
    if downloaded(settings.model_dir) or hub_reachable(timeout_s):
        return DEFAULT_MODEL
    return "demo"
