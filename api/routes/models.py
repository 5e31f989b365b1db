"""Models and languages: what can be asked for."""

from fastapi import APIRouter

from api.dependencies import PlatformDep
from api.jobs.catalogue import ModelCatalogue
from api.platform_schemas import LanguagesOut, ModelOut, ModelsOut, languages_out
from api.problems import documented

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", operation_id="list_models", summary="List models", responses=documented(503))
async def models(platform: PlatformDep) -> ModelsOut:
    """The models that live workers serve, with engine and device, and the names that stand for them."""
    return ModelsOut(data=listed(await platform.catalogue.offer()))


@router.get("/languages", operation_id="list_languages", summary="List languages", responses=documented())
async def languages() -> LanguagesOut:
    """The languages that Whisper knows, by ISO 639-1 code; `auto` detects one."""
    return LanguagesOut(languages=languages_out())


def listed(offer: ModelCatalogue) -> list[ModelOut]:
    """Every name in *offer* as OpenAI's clients know models, with what we know besides."""
    models = [_model(offer, name) for name in sorted(offer.served)]
    return models + [aliased(_model(offer, model), alias) for alias, model in sorted(offer.aliases.items())]


def aliased(model: ModelOut, alias: str) -> ModelOut:
    """*model* by another name."""
    return model.model_copy(update={"id": alias, "alias_of": model.id})


def _model(offer: ModelCatalogue, name: str) -> ModelOut:
    workers = [worker for worker in offer.workers if name in worker.models]
    return ModelOut(
        id=name,
        created=int(min((worker.started_at for worker in workers), default=0)),
        owned_by="murmuration",
        alias_of=None,
        default=name == offer.default,
        engines=sorted({worker.engine for worker in workers}),
        devices=sorted({worker.device for worker in workers}),
        compute_types=sorted({worker.compute_type for worker in workers}),
        workers=len(workers),
    )
