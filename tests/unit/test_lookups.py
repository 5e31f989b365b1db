"""Names that clients give are looked up apart, and an owner of slow ones holds up nobody else."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from transcription.errors import UrlNotAllowed, UrlUnreachable
from transcription.network import lookups as module
from transcription.network.guard import targets
from transcription.network.lookups import LookupFailed, Lookups, no_address

ROW = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 80))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver to which names that begin with `slow` stay unknown until the event."""
    release = threading.Event()

    def resolve(name: str, *_: object, **__: object) -> list[object]:
        if name.startswith("slow"):
            release.wait(30)
        return [ROW]

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)  # type: ignore[attr-defined]
    yield release
    release.set()


def test_a_tenant_with_slow_names_is_refused_more_and_holds_up_neither_others_nor_the_default_threads(
    slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESOLVE_S", 20.0)
    own = Lookups(threads=8, for_each_owner=4)

    async def ask() -> None:
        waiting = [asyncio.create_task(own.addresses(f"slow{n}.example", 80, owner="acme")) for n in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(UrlUnreachable, match="looked up already"):
            await own.addresses("fast.example", 80, owner="acme")
        assert await own.addresses("fast.example", 80, owner="umbrella") == ["1.1.1.1"]
        # What uploads are written by isn't waiting for any name.
        assert await asyncio.gather(*(asyncio.to_thread(lambda: 1) for _ in range(40))) == [1] * 40
        slow.set()
        assert await asyncio.gather(*waiting) == [["1.1.1.1"]] * 4
        assert await own.addresses("fast.example", 80, owner="acme") == ["1.1.1.1"]

    asyncio.run(ask())


def test_a_name_that_was_given_up_counts_until_its_thread_is_free(
    slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESOLVE_S", 0.05)
    own = Lookups(threads=8, for_each_owner=1)

    async def ask() -> None:
        with pytest.raises(LookupFailed):
            await own.addresses("slow.example", 80, owner="acme")
        with pytest.raises(UrlUnreachable, match="looked up already"):
            await own.addresses("fast.example", 80, owner="acme")

    asyncio.run(ask())


def test_a_name_that_leads_inside_and_one_that_nobody_knows_are_told_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, *_: object, **__: object) -> list[object]:
        if name == "internal.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)  # type: ignore[attr-defined]
    said = []
    for name in ("internal.example", "no-such.example"):
        with pytest.raises((UrlNotAllowed, LookupFailed)) as caught:
            asyncio.run(targets(f"http://{name}/", allow_private=False))
        said.append(caught.value.message.replace(name, "X"))
    assert said == [no_address("X")] * 2
