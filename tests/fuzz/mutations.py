"""Damage, by a seeded generator: the same seed and number give the same bytes on every machine."""

import random
from collections.abc import Callable

Mutation = Callable[[random.Random, bytearray], None]

_INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff" * 8,
    b"\r\n\r\n",
    b'"',
    b"\\",
    b"%s%n",
    b"{[",
)


def damaged(generator: random.Random, good: bytes) -> bytes:
    """*good* after one to eight mutations."""
    data = bytearray(good)
    for _ in range(generator.randint(1, 8)):
        generator.choice(MUTATIONS)(generator, data)
    return bytes(data)


def _at(generator: random.Random, data: bytearray) -> int:
    # Headers are where a parser's decisions are.
    return generator.randrange(min(len(data), 256) if generator.random() < 0.5 else len(data)) if data else 0


def _flip(generator: random.Random, data: bytearray) -> None:
    if data:
        data[_at(generator, data)] ^= 1 << generator.randrange(8)


def _overwrite(generator: random.Random, data: bytearray) -> None:
    at, word = _at(generator, data), generator.choice(_INTERESTING)
    data[at : at + len(word)] = word


def _insert(generator: random.Random, data: bytearray) -> None:
    at = _at(generator, data)
    data[at:at] = generator.randbytes(generator.randint(1, 64))


def _delete(generator: random.Random, data: bytearray) -> None:
    at = _at(generator, data)
    del data[at : at + generator.randint(1, 64)]


def _truncate(generator: random.Random, data: bytearray) -> None:
    del data[_at(generator, data) :]


def _repeat(generator: random.Random, data: bytearray) -> None:
    at = _at(generator, data)
    data[at:at] = data[at : at + generator.randint(1, 512)] * generator.randint(1, 8)


def _shuffle(generator: random.Random, data: bytearray) -> None:
    at, to, length = _at(generator, data), _at(generator, data), generator.randint(1, 256)
    data[at : at + length], data[to : to + length] = data[to : to + length], data[at : at + length]


MUTATIONS: tuple[Mutation, ...] = (_flip, _overwrite, _insert, _delete, _truncate, _repeat, _shuffle)
