"""Pages: of however many names there are, so many at once, so that a scan asks the ledger seldom and holds little."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

PAGE = 1000

Held = Callable[[Sequence[str]], Collection[str]]
"""Which of so many SHA-256s somebody needs."""

Item = TypeVar("Item")


def pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    """*items* in their order, a page at a time."""
    rest = iter(items)
    while page := list(islice(rest, PAGE)):
        yield page
