"""
Short pauses of the garbage collector, however many clients wait.

A client that waits for a job is some 270 objects that the collector knows. With 3,000 of them a full collection stops
the event loop for three quarters of a second, every ten seconds, and finds next to nothing: what requests leave holds
no cycles, and is freed at once. So what there is is set aside here (`gc.freeze`) twice a second and not looked at
again. By the clock, because Python's own count of young objects stands still while as many old ones end: a quarter of
a million of them came together, and took half a second. All is looked at only when twice as much is alive as the
last time.
"""

import gc
import sys
import threading

LOOK_S = 0.5
YOUNG, MIDDLE, NEVER = 2000, 5, 1_000_000
"""Thresholds of the three generations, for bursts. The last one's collection is ours."""

MORE = 500_000
"""Blocks of memory by which what is alive may grow in any case: an object is some three."""


class Survivors:
    """What has been set aside, and how much was alive when all was last looked at."""

    def __init__(self) -> None:
        gc.set_threshold(YOUNG, MIDDLE, NEVER)
        self._known = self.look_at_all()

    def look(self) -> None:
        """Set aside what is still there, and look at all if much more is alive than was."""
        gc.collect()
        gc.freeze()
        alive = sys.getallocatedblocks()
        if alive > 2 * self._known + MORE:
            self._known = self.look_at_all()
        else:
            self._known = min(self._known, alive)

    def look_at_all(self) -> int:
        """Free every cycle that nobody holds, set the rest aside, and say how many blocks of memory are in use.

        Not how many objects are set aside: Python would count a million of them one by one, for half a second.
        """
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return sys.getallocatedblocks()


def keep_pauses_short() -> None:
    """Do so from now on, for as long as the process lives."""
    survivors, never = Survivors(), threading.Event()

    def watch() -> None:
        while not never.wait(LOOK_S):
            survivors.look()

    threading.Thread(target=watch, name="garbage", daemon=True).start()
