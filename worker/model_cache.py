"""Models: where they lie, and which of them are in memory."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog
from faster_whisper import download_model
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

import demo
from transcription.errors import ModelUnavailable
from transcription.models import CHECKPOINTS
from transcription.settings import Settings
from transcription.storage.model_revision import ModelRevisions, built_in
from worker.batcher import ModelCall
from worker.engines import choice
from worker.engines.allocator import give_back_memory
from worker.engines.base import Engine
from worker.metrics import counters

log = structlog.get_logger()

Load = Callable[[str, Settings], Engine]

WAIT_S = 1.0
"""For which a thread that waits for a model sleeps at most before it says so again."""


def locate(name: str, settings: Settings) -> Path:
    """
    Find the directory of the model *name*; fetch it if it is a published one.

    Args:
        name: `demo`, a directory, or a published name. Only the last may reach for the network.

    Raises:
        ModelUnavailable: there is none of that name, or it can't be had now.
    """
    if name == "demo":
        try:
            return demo.export_ct2(settings.model_dir / f"demo-{demo.REVISION}")
        except OSError as error:
            raise ModelUnavailable(f"the demo model can't be written into {settings.model_dir}: {error}") from error
    if name == "auto":
        raise ModelUnavailable(
            "`auto` is for `murmur up`, which may fall back on a toy: say in MURMUR_MODEL which model to serve, as base"
        )
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name not in CHECKPOINTS:
        raise ModelUnavailable(
            f"model {name!r} is neither `demo`, nor a directory on this machine, nor one of {', '.join(CHECKPOINTS)}"
        )
    return _fetch(name, settings.model_dir)


def _fetch(name: str, model_dir: Path) -> Path:
    here = _downloaded(name, model_dir)
    if here is not None:
        return here
    try:
        return Path(download_model(name, cache_dir=str(model_dir)))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, ValueError, OSError) as error:
        message = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(
            f"model {name!r} isn't in {model_dir} and can't be fetched from the hub ({message[0]}); "
            "set MURMUR_MODEL=demo, or name a directory that holds a CTranslate2 model"
        ) from error


def _downloaded(name: str, model_dir: Path) -> Path | None:
    with suppress(LocalEntryNotFoundError, ValueError, OSError):
        here = Path(download_model(name, cache_dir=str(model_dir), local_files_only=True))
        if (here / "model.bin").is_file():  # else a download was cut
            return here
    return None


def local(name: str, settings: Settings, *, engine: str) -> Path | None:
    """Where the files of the model *name* lie on this host already, in the form of *engine*; None: nowhere yet."""
    if engine == choice.MLX:
        return choice.mlx_files(name, settings)
    path = Path(name).expanduser()
    return path if path.is_dir() else _downloaded(name, settings.model_dir)


def load(name: str, settings: Settings) -> Engine:
    """Locate the model *name*, and load it into the engine that *settings* choose. ModelUnavailable."""
    return choice.load(name, settings, locate=locate)


def _bytes(directory: Path) -> int:
    """What the hub's client has written so far."""
    total = 0
    for path in directory.glob("models--*/blobs/*"):
        with suppress(OSError):  # it's being moved to its place
            total += path.stat().st_size
    return total


@dataclass(slots=True, eq=False)
class _CacheEntry:
    """
    A model's place in the cache. It is used from the moment when somebody begins to load the model.

    ``revision`` is that of the weights in memory, empty where it isn't known, whatever lies on the disk by now.
    """

    engine: Engine | None = None
    revision: str = ""
    error: ModelUnavailable | None = None
    users: int = 0
    since: float = 0.0


@dataclass(slots=True, eq=False)
class _Loading:
    """A model on its way into memory: the steps at the last look, and since when (monotonic) there were no more."""

    steps: int
    since: float


class ModelCache:
    """
    The models in memory: loaded once however many threads ask, at most `max_models`, the least recently used first
    to go. A model in use stays. An idle one goes after `idle_unload_s`, and its memory back to the system.
    """

    def __init__(self, settings: Settings, *, load: Load = load) -> None:
        """Make an empty cache; *load* makes the engine of a name, and may raise ModelUnavailable."""
        chosen = choice.choose(settings)
        self.engine, self.device, self.compute_type = chosen.engine, chosen.device, chosen.compute_type
        self.slots = chosen.slots
        self._layout = chosen.layout
        self._settings = settings
        self._load = load
        self._max_models = settings.worker.max_models
        self._idle_unload_s = settings.worker.idle_unload_s
        self._entries: OrderedDict[str, _CacheEntry] = OrderedDict()
        self._queue: list[tuple[object, str]] = []
        self._past_steps = 0
        self._on_disk = ModelRevisions(settings.model_dir / "revisions.json")
        # Read without the lock, which whoever closes a model holds until what that computes has come back.
        self._engines: tuple[Engine, ...] = ()
        self._loading: tuple[_Loading, ...] = ()
        self._closed = False
        self._changed = threading.Condition()
        if self._idle_unload_s:
            threading.Thread(target=self._unload_idle, name="idle-models", daemon=True).start()

    @property
    def steps(self) -> int:
        """How often any model has come back with something. While one is loaded, what comes from the hub counts too."""
        steps = self._past_steps + sum(engine.steps for engine in self._engines)
        return steps + _bytes(self._settings.model_dir) if self._loading else steps

    def revision(self, name: str) -> str:
        """
        The revision of a model's weights: of those in memory, else of those on this host's disk, which are read for it
        when they have changed. Empty where it isn't known: they must be fetched first, or can't be read.
        """
        entry = self._entries.get(name)
        return entry.revision if entry and entry.engine else self._disk_revision(name)

    def _disk_revision(self, name: str) -> str:
        if name == "demo":
            return built_in(name)
        try:
            directory = local(name, self._settings, engine=self.engine)
            return self._on_disk.of(directory) if directory else ""
        except (OSError, ModelUnavailable) as error:
            log.warning("the model's weights can't be read", model=name, error=str(error)[:300])
            return ""

    def calls(self) -> tuple[ModelCall, ...]:
        """The calls into any model that haven't come back yet. A load is one, too, since the last step of anything."""
        calls = [call for engine in self._engines for call in engine.calls()]
        for loading in self._loading:
            if loading.steps != (steps := self.steps):
                loading.steps, loading.since = steps, time.monotonic()
            calls.append(ModelCall(loading.since, frozenset()))  # whose thread it is, its lease knows
        return tuple(calls)

    @property
    def layout(self) -> str:
        """How models are laid out here, and what encodes those that are in memory."""
        encoders = {getattr(engine, "encoder", "") for engine in self._engines} - {""}
        return ", encoder ".join([self._layout, *sorted(encoders)])

    def names(self) -> tuple[str, ...]:
        """The models in memory, the least recently used first."""
        with self._changed:
            return tuple(name for name, entry in self._entries.items() if entry.engine)

    @contextmanager
    def get(self, name: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[Engine]:
        """
        Lend the engine of *name*, loading it if it must be.

        Where every place is taken by another model in use, this waits; requests are served in the order in which
        they came, so that one model in constant use can't keep another one out.

        *waiting* is called about once a second while others use the places or load the model, and never while the
        caller loads it; what it raises ends the wait.

        Raises:
            ModelUnavailable: it can't be loaded.
        """
        entry, new = self._reserve(name, waiting)
        try:
            yield self._load_into(name, entry) if new else self._wait_until_loaded(entry, waiting)
        finally:
            with self._changed:
                entry.users -= 1
                entry.since = time.monotonic()
                self._changed.notify_all()

    def close(self) -> None:
        """Unload everything; what is in use ends with Stopped."""
        with self._changed:
            self._closed = True
            for name in tuple(self._entries):
                self._unload(name)
            self._changed.notify_all()

    def _reserve(self, name: str, waiting: Callable[[], None]) -> tuple[_CacheEntry, bool]:
        """Get a place for *name*; True: it's empty, to be filled by the caller."""
        request = (object(), name)
        with self._changed:
            self._queue.append(request)
            try:
                while not self._my_turn(request):
                    waiting()
                    self._changed.wait(WAIT_S)
            finally:
                self._queue.remove(request)
                self._changed.notify_all()
            new = name not in self._entries
            if new:
                while len(self._entries) >= self._max_models:
                    self._unload(next(key for key, entry in self._entries.items() if not entry.users))
                self._entries[name] = _CacheEntry()
            entry = self._entries[name]
            entry.users += 1
            self._entries.move_to_end(name)
            return entry, new

    def _my_turn(self, request: tuple[object, str]) -> bool:
        """Nobody waits longer for another model, and this one is there or has a place."""
        name = request[1]
        if any(other != name for _, other in self._queue[: self._queue.index(request)]):
            return False
        full = len(self._entries) >= self._max_models and all(entry.users for entry in self._entries.values())
        return name in self._entries or not full

    def _load_into(self, name: str, entry: _CacheEntry) -> Engine:
        # Outside the lock: fetching a model can take minutes, in which others go on with theirs.
        loading = _Loading(self.steps, time.monotonic())
        with self._changed:
            self._loading = (*self._loading, loading)
        try:
            before = self._disk_revision(name)
            with counters.loading():
                engine = self._load(name, self._settings)
            after = self._disk_revision(name)
        except BaseException as error:
            with self._changed:
                self._loading = tuple(one for one in self._loading if one is not loading)
                entry.error = error if isinstance(error, ModelUnavailable) else ModelUnavailable(str(error))
                del self._entries[name]
                self._changed.notify_all()
            raise
        with self._changed:
            self._loading = tuple(one for one in self._loading if one is not loading)
            self._engines = (*self._engines, engine)
            # Weights that were exchanged while they were loaded are neither the ones nor the others.
            entry.revision = after if before in ("", after) else f"{before}-{after}"
            entry.engine = engine
            self._changed.notify_all()
        return engine

    def _wait_until_loaded(self, entry: _CacheEntry, waiting: Callable[[], None]) -> Engine:
        with self._changed:
            while entry.engine is None:
                if entry.error is not None:
                    raise entry.error
                waiting()
                self._changed.wait(WAIT_S)
            return entry.engine

    def _unload(self, name: str) -> None:
        engine = self._entries.pop(name).engine
        if engine is not None:
            engine.close()
            self._past_steps += engine.steps
            self._engines = tuple(one for one in self._engines if one is not engine)
            del engine
            give_back_memory()

    def _unload_idle(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                ends = {
                    name: entry.since + self._idle_unload_s for name, entry in self._entries.items() if not entry.users
                }
                for name, end in ends.items():
                    if end <= now:
                        self._unload(name)
                rest = [end - now for end in ends.values() if end > now]
                self._changed.wait(min(rest, default=None))
