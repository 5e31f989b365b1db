"""Models and languages: what can be asked for."""

from typing import Any

from fastapi import APIRouter

from api.dependencies import PlatformDep
from api.jobs.catalogue import ModelCatalogue
from api.problems import documented
from transcription.languages import LANGUAGES

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", responses=documented(503))
async def models(platform: PlatformDep) -> dict[str, Any]:
    """The models that live workers serve, with engine and device, and the names that stand for them."""
    return {"object": "list", "data": listed(await platform.catalogue.offer())}


@router.get("/languages")
async def languages() -> dict[str, Any]:
    """The languages that Whisper knows, by ISO 639-1 code; `auto` detects one."""
    return {"languages": [{"code": code, "name": name} for code, name in LANGUAGES.items()]}


def listed(offer: ModelCatalogue) -> list[dict[str, Any]]:
    """Every name in *offer* as OpenAI's clients know models, with what we know besides."""
    models = [_model(offer, name) for name in sorted(offer.served)]
    return models + [
        {**_model(offer, model), "id": alias, "alias_of": model} for alias, model in sorted(offer.aliases.items())
    ]


def _model(offer: ModelCatalogue, name: str) -> dict[str, Any]:
    workers = [worker for worker in offer.workers if name in worker.models]
    return {
        "id": name,
        "object": "model",
        "created": int(min((worker.started_at for worker in workers), default=0)),
        "owned_by": "murmuration",
        "alias_of": None,
        "default": name == offer.default,
        "engines": sorted({worker.engine for worker in workers}),
        "devices": sorted({worker.device for worker in workers}),
        "compute_types": sorted({worker.compute_type for worker in workers}),
        "workers": len(workers),
    }
