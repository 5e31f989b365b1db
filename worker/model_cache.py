"""Models: where they lie, and which of them are in memory."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from faster_whisper import download_model
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

import demo
from transcription.errors import ModelUnavailable
from transcription.models import CHECKPOINTS
from transcription.settings import Settings
from worker.allocator import give_back_memory
from worker.engines import choice
from worker.engines.base import Engine
from worker.metrics import counters

Load = Callable[[str, Settings], Engine]


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
    with suppress(LocalEntryNotFoundError, ValueError, OSError):
        here = Path(download_model(name, cache_dir=str(model_dir), local_files_only=True))
        if (here / "model.bin").is_file():  # else a download was cut
            return here
    try:
        return Path(download_model(name, cache_dir=str(model_dir)))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, ValueError, OSError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(
            f"model {name!r} isn't in {model_dir} and can't be fetched from the hub ({said[0]}); "
            "set MURMUR_MODEL=demo, or name a directory that holds a CTranslate2 model"
        ) from error


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
class _Place:
    """A model's place in the cache. It is used from the moment when somebody begins to load the model."""

    engine: Engine | None = None
    error: ModelUnavailable | None = None
    users: int = 0
    since: float = 0.0


class ModelCache:
    """
    The models in memory: loaded once however many threads ask, at most `max_models`, the least recently used first
    to go. A model in use stays. An idle one goes after `idle_unload_s`, and its memory back to the system.
    """

    def __init__(self, settings: Settings, *, load: Load = load) -> None:
        """Make an empty cache; *load* makes the engine of a name, and may raise ModelUnavailable."""
        chosen = choice.choose(settings)
        self.engine, self.device, self.compute_type = chosen.engine, chosen.device, chosen.compute_type
        self.layout, self.slots = chosen.layout, chosen.slots
        self._settings = settings
        self._load = load
        self._max_models = settings.worker.max_models
        self._idle_unload_s = settings.worker.idle_unload_s
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._queue: list[tuple[object, str]] = []
        self._past_steps = 0
        self._closed = False
        self._changed = threading.Condition()
        if self._idle_unload_s:
            threading.Thread(target=self._unload_idle, name="idle-models", daemon=True).start()

    @property
    def steps(self) -> int:
        """How often any model has come back with something. While one is loaded, what comes from the hub counts too."""
        with self._changed:
            engines = [place.engine for place in self._places.values()]
            steps = self._past_steps + sum(engine.steps for engine in engines if engine)
        return steps if all(engines) else steps + _bytes(self._settings.model_dir)

    def names(self) -> tuple[str, ...]:
        """The models in memory, the least recently used first."""
        with self._changed:
            return tuple(name for name, place in self._places.items() if place.engine)

    @contextmanager
    def get(self, name: str) -> Iterator[Engine]:
        """
        Lend the engine of *name*, loading it if it must be.

        Where every place is taken by another model in use, this waits; requests are served in the order in which
        they came, so that one model in constant use can't keep another one out.

        Raises:
            ModelUnavailable: it can't be loaded.
        """
        place, new = self._take_place(name)
        try:
            yield self._fill(name, place) if new else self._filled(place)
        finally:
            with self._changed:
                place.users -= 1
                place.since = time.monotonic()
                self._changed.notify_all()

    def close(self) -> None:
        """Unload everything; what is in use ends with Stopped."""
        with self._changed:
            self._closed = True
            for name in tuple(self._places):
                self._unload(name)
            self._changed.notify_all()

    def _take_place(self, name: str) -> tuple[_Place, bool]:
        """Get a place for *name*; True: it's empty, to be filled by the caller."""
        ticket = (object(), name)
        with self._changed:
            self._queue.append(ticket)
            try:
                while not self._my_turn(ticket):
                    self._changed.wait()
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            new = name not in self._places
            if new:
                while len(self._places) >= self._max_models:
                    self._unload(next(key for key, place in self._places.items() if not place.users))
                self._places[name] = _Place()
            place = self._places[name]
            place.users += 1
            self._places.move_to_end(name)
            return place, new

    def _my_turn(self, ticket: tuple[object, str]) -> bool:
        """Nobody waits longer for another model, and this one is there or has a place."""
        name = ticket[1]
        if any(other != name for _, other in self._queue[: self._queue.index(ticket)]):
            return False
        full = len(self._places) >= self._max_models and all(place.users for place in self._places.values())
        return name in self._places or not full

    def _fill(self, name: str, place: _Place) -> Engine:
        # Outside the lock: fetching a model can take minutes, in which others go on with theirs.
        try:
            with counters.loading():
                engine = self._load(name, self._settings)
        except BaseException as error:
            with self._changed:
                place.error = error if isinstance(error, ModelUnavailable) else ModelUnavailable(str(error))
                del self._places[name]
                self._changed.notify_all()
            raise
        with self._changed:
            place.engine = engine
            self._changed.notify_all()
        return engine

    def _filled(self, place: _Place) -> Engine:
        with self._changed:
            while place.engine is None:
                if place.error is not None:
                    raise place.error
                self._changed.wait()
            return place.engine

    def _unload(self, name: str) -> None:
        engine = self._places.pop(name).engine
        if engine is not None:
            self._past_steps += engine.steps
            engine.close()
            del engine
            give_back_memory()

    def _unload_idle(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                ends = {
                    name: place.since + self._idle_unload_s for name, place in self._places.items() if not place.users
                }
                for name, end in ends.items():
                    if end <= now:
                        self._unload(name)
                rest = [end - now for end in ends.values() if end > now]
                self._changed.wait(min(rest, default=None))
