"""What sounds when in one training window: utterances, pauses and noises, laid onto mel power."""

import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from demo.training.bank import TAIL_FRAMES, Bank
from demo.training.features import FRAMES_PER_S, SILENT_POWER
from demo.training.synthesise import Item
from demo.weights import MELS

FULL_FRAMES = 3000
SHORTEST_CUT_FRAMES = 25


@dataclass(frozen=True)
class Placed:
    """An utterance and the frame (10 ms) at which it starts."""

    frame: int
    item: Item

    @property
    def start(self) -> float:
        """Seconds from the window's start."""
        return self.frame / FRAMES_PER_S

    @property
    def end(self) -> float:
        """Seconds from the window's start."""
        return (self.frame + self.item.frames - TAIL_FRAMES) / FRAMES_PER_S


@dataclass
class Scene:
    """
    One window's sound.

    `power` is (frames, 80); nothing sounds from frame `stop` on. `language` is "none" where nobody speaks. `cut` is
    an utterance that the window's end breaks off: its start is written down, its words aren't.
    """

    power: NDArray[np.float32]
    stop: int
    language: str
    timestamps: bool
    spoken: list[Placed] = field(default_factory=list)
    cut: Placed | None = None

    @property
    def heard(self) -> list[Placed]:
        """All utterances, the one cut off included."""
        return [*self.spoken, *([self.cut] if self.cut else [])]


def compose(bank: Bank, rng: random.Random, frames: int) -> Scene:
    """Make a scene of *frames* (10 ms each, an even number)."""
    may_cut = rng.random() < 0.45
    full = may_cut or rng.random() < 0.4
    scene = Scene(
        power=np.full((frames, MELS), SILENT_POWER, np.float32),
        stop=frames if full else int(frames * rng.uniform(0.15, 1)),
        language=rng.choices(("en", "de", "none"), (80, 16, 4))[0],
        timestamps=rng.random() < 0.65,
    )
    position = _speak(scene, bank, rng, may_cut=may_cut and full)
    if scene.language == "none":
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            _lay(scene, bank, bank.pick(rng, "none"), rng.randrange(max(1, frames - 20)))
    elif rng.random() < 0.06:
        _lay(scene, bank, bank.pick(rng, "none"), position)
    scene.power[scene.stop :] = SILENT_POWER
    if not scene.spoken:
        scene.language = "none"
    return scene


def _speak(scene: Scene, bank: Bank, rng: random.Random, *, may_cut: bool) -> int:
    """Lay utterances one after another; return the frame after the last."""
    frames = len(scene.power)
    position = _earlier_tail(scene, bank, rng) if rng.random() < 0.15 else 0
    latest = min(5, frames / 300)
    lead_s = rng.uniform(0, 0.6) if rng.random() < 0.75 else rng.uniform(min(0.5, latest), latest)
    position += int(FRAMES_PER_S * lead_s)
    mean_pause_s = rng.choice((0.3, 0.5, 0.8, 1.5))
    volume = 10 ** rng.uniform(-2.2, 0.3) if rng.random() < 0.6 else 1.0
    limit = rng.choice((1, 2, 99, 99, 99)) if scene.language != "none" else 0
    while len(scene.spoken) < limit:
        item = bank.pick(rng, scene.language)
        if position + item.frames - TAIL_FRAMES > scene.stop:
            room = min(item.frames, frames - position)
            if may_cut and scene.timestamps and scene.spoken and room >= SHORTEST_CUT_FRAMES:
                _lay(scene, bank, item, position, volume * 10 ** rng.uniform(-0.6, 0.3))
                scene.cut = Placed(position, item)
            break
        _lay(scene, bank, item, position, volume * 10 ** rng.uniform(-0.6, 0.3))
        scene.spoken.append(Placed(position, item))
        pause_s = min(4, max(0.12, rng.expovariate(1 / mean_pause_s)))
        position += item.frames + int(FRAMES_PER_S * pause_s)
        if position > scene.stop - 40:
            break
    return position


def _earlier_tail(scene: Scene, bank: Bank, rng: random.Random) -> int:
    """The last sound of an utterance that ended before the window: it must not be written down."""
    item = bank.pick(rng, "en")
    length = rng.randint(1, 8)
    end = item.frames - TAIL_FRAMES
    scene.power[:length] += bank.power(item, end - length, end)
    return length + rng.randint(3, 20)


def _lay(scene: Scene, bank: Bank, item: Item, position: int, gain: float = 1.0) -> None:
    room = min(item.frames, len(scene.power) - position)
    if room > 0:
        scene.power[position : position + room] += gain * bank.power(item, 0, room)
