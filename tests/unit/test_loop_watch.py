"""A process whose event loop stands still ends; one whose loop runs, however slowly, doesn't."""

import pytest

from api import loop_watch
from api.loop_watch import LoopWatch


class Looks:
    """In place of the pause between two looks: what the loop did meanwhile, `b` being a beat."""

    def __init__(self, watch: LoopWatch, meanwhile: str) -> None:
        self._watch, self._meanwhile = watch, iter(meanwhile)

    def wait(self, _: float) -> bool:
        did = next(self._meanwhile, None)
        if did == "b":
            self._watch.beat()
        return did is None


@pytest.mark.parametrize(
    ("meanwhile", "ended"), [("b.." * 4, []), ("bbbbbb", []), ("b...", [6.0]), ("b..b...", [6.0]), ("...", [6.0])]
)
def test_only_looks_without_a_beat_that_follow_one_another_end_a_process(
    meanwhile: str, ended: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float] = []
    monkeypatch.setattr(loop_watch, "_end", seconds.append)
    watch = LoopWatch(looks=3, every_s=2.0)
    watch._over = Looks(watch, meanwhile)  # type: ignore[assignment]
    watch._watch()
    assert seconds == ended
