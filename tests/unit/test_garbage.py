"""The API's garbage: requests leave none, and what lives long isn't looked at again and again."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELD = """
import gc, sys
from api import garbage
from api.garbage import MIDDLE, YOUNG, Survivors

class Held:  # an object in a cycle with itself
    def __init__(self):
        self.itself = self

def allocated(count):
    return [Held() for _ in range(count)]

def seen():
    return sum(isinstance(one, Held) for one in gc.get_objects())
"""


def _alone(program: str) -> None:
    """Run *program* in a process of its own: this one's collector has set the tests themselves aside."""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_command_with_a_limit_leaves_nothing_to_the_garbage_collector() -> None:
    _alone("""
import asyncio, gc
from transcription.ledger.connections.fail_fast import Lateness

async def commands():
    lateness = Lateness()
    async with lateness.excluded(1.0):
        await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    for _ in range(20):
        async with lateness.excluded(1.0):
            await asyncio.sleep(0)
    return gc.collect()

assert asyncio.run(commands()) == 0
""")


def test_what_has_survived_is_not_looked_at_again_but_freed_when_much_more_has_come() -> None:
    _alone(f"""{HELD}
def all_is_looked_at(portion):
    kept, alive = [], sys.getallocatedblocks()
    while sys.getallocatedblocks() <= 2 * alive + portion * 8 and len(kept) < 200:
        kept.append(allocated(portion))
        before = gc.get_freeze_count()
        survivors.look()
        if gc.get_freeze_count() < before + portion:
            return True  # all was looked at, and the cycles from above are gone
    return False

garbage.MORE = 0
survivors = Survivors()
portion = YOUNG * MIDDLE
held = allocated(portion)
survivors.look()
assert gc.get_freeze_count() >= portion
assert seen() < portion, "the collector sees them"
del held
assert gc.collect() < portion, "a cycle that nobody holds, and that was set aside, was looked at"
assert all_is_looked_at(portion), "what nobody holds was never freed"
""")


def test_young_objects_are_set_aside_though_as_many_old_ones_end() -> None:
    _alone(f"""{HELD}
old = allocated(10_000)
survivors = Survivors()
young = []
while old:  # Python's own count of the young stands still
    young.append(Held())
    old.pop().itself = None
survivors.look()
assert len(young) == 10_000
assert not seen()
""")
