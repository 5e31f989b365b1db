"""Which models can be asked for now, and what their names stand for."""

from collections import Counter
from dataclasses import dataclass

from api.jobs.backlog import BacklogView
from transcription.errors import ModelNotServed, ModelUnavailable
from transcription.models import ModelRef, resolve
from transcription.ports import WorkerInfo
from transcription.settings import Settings
from transcription.storage.model_revision import built_in


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCatalogue:
    """The platform's own model, every served one, and the names that stand for them."""

    default: str
    served: tuple[str, ...]
    aliases: dict[str, str]
    workers: tuple[WorkerInfo, ...]


class Catalogue:
    """
    Models by what live workers serve.

    While no worker lives, what they served last still counts, or else the settings: a job that comes during a
    worker's restart waits for it.
    """

    def __init__(self, settings: Settings, backlog: BacklogView) -> None:
        self._settings = settings
        self._backlog = backlog

    async def offer(self) -> ModelCatalogue:
        """What can be asked for. LedgerUnavailable; ModelUnavailable before the first worker with `auto` has come."""
        workers = (await self._backlog.now()).workers
        known = workers or self._backlog.last_workers
        live = tuple(dict.fromkeys(model for worker in known for model in worker.models))
        configured = tuple(name for name in (self._settings.model, *self._settings.models) if name != "auto")
        served = live or configured
        if not served:
            raise ModelUnavailable("no worker has reported its models yet; try again when one is running")
        default = self._settings.model if self._settings.model in served else served[0]
        # `auto` stands for what the workers made of it, with that model's aliases.
        aliases = self._settings.model_copy(update={"model": default}).aliases()
        return ModelCatalogue(
            default=default,
            served=served,
            aliases={name: model for name, model in aliases.items() if model in served and name not in served},
            workers=workers,
        )

    async def diarizer(self) -> str:
        """
        What tells speakers apart here: what most live workers have.

        Raises:
            ModelNotServed: none of them can.
            ModelUnavailable: no worker has come yet.
        """
        workers = (await self._backlog.now()).workers or self._backlog.last_workers
        if not workers:
            raise ModelUnavailable("no worker has reported yet whether it can diarize; try again when one is running")
        found = Counter(worker.diarizer for worker in workers if worker.diarizer)
        if not found:
            raise ModelNotServed(
                "diarize: no worker here can diarize; that needs a speaker network "
                "(MURMUR_WORKER__DIARIZER), see docs/speakers.md"
            )
        return found.most_common(1)[0][0]

    async def resolve(self, requested: str | None) -> ModelRef:
        """The model that a client's word stands for. ModelNotServed, ModelUnavailable, LedgerUnavailable."""
        offer = await self.offer()
        name = resolve(requested, default=offer.default, served=offer.served, aliases=offer.aliases)
        known = (await self._backlog.now()).revisions
        return ModelRef(name, known.get(name) or built_in(name))
