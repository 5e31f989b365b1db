"""
CTranslate2's `model.bin`: the weights of a published faster-whisper model, readable without CTranslate2.

The format is that of CTranslate2's converter (`ctranslate2/specs/model_spec.py`, binary version 6): a header, then
each variable's name, shape, type and bytes, then aliases, all little-endian.
"""

import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from transcription.errors import ModelUnavailable

LEAST_VERSION, NEWEST_VERSION = 4, 6
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)
"""By CTranslate2's number of the type; numpy has no bfloat16, whose bits are kept as they are."""

Floats = npt.NDArray[np.float32]


class ModelBin:
    """The variables of one file, mapped into memory: only what is asked for is read."""

    def __init__(self, path: Path) -> None:
        """
        Read the table of contents of *path*.

        Raises:
            ModelUnavailable: the file can't be read, is no such model, or ends before its last variable.
        """
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._variables, self._aliases = self._contents()
        except (OSError, ValueError, struct.error, UnicodeDecodeError) as error:
            raise ModelUnavailable(f"{path} is no model of CTranslate2's, or not a whole one: {error}") from error

    def __contains__(self, name: str) -> bool:
        return self._aliases.get(name, name) in self._variables

    def names(self) -> list[str]:
        """Every variable but aliases by its path, e.g. `encoder/layer_0/ffn/linear_0/weight`."""
        return list(self._variables)

    def raw(self, name: str) -> npt.NDArray[np.generic]:
        """
        The variable as it is stored, without a copy.

        Raises:
            ModelUnavailable: there is no such variable.
        """
        try:
            kind, shape, start = self._variables[self._aliases.get(name, name)]
        except KeyError as error:
            raise ModelUnavailable(f"the model's weights have no {name!r}: it is no Whisper model") from error
        count = int(np.prod(shape, dtype=np.int64))
        found: npt.NDArray[np.generic] = np.frombuffer(self._bytes, _TYPES[kind], count, start).reshape(shape)
        return found

    def floats(self, name: str) -> Floats:
        """
        The variable in float32; quantised weights are divided by their scales: of int8 one a row, of int16 one in all.

        Raises:
            ModelUnavailable: there is no such variable.
        """
        stored = self.raw(name)
        if stored.dtype == np.uint16:
            return (stored.astype(np.uint32) << 16).view(np.float32)
        if stored.dtype not in (np.int8, np.int16):
            return stored.astype(np.float32)
        scales = self.floats(f"{self._aliases.get(name, name)}_scale")
        return stored.astype(np.float32) / scales.reshape(-1, *[1] * (stored.ndim - 1))

    def write_subset(self, file: BinaryIO, keep: Callable[[str], bool]) -> None:
        """
        Write the variables whose names *keep* wants into *file*, which is a `model.bin` then.

        An alias of a variable that stays away becomes a variable.
        """
        aliases = {alias: name for alias, name in self._aliases.items() if keep(alias)}
        names = {name: name for name in self._variables if keep(name)}
        names |= {alias: name for alias, name in aliases.items() if name not in names}
        file.write(self._bytes[: self._head] + struct.pack("<I", len(names)))
        for name, stored in names.items():
            kind, shape, start = self._variables[stored]
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(_TYPES[kind]).itemsize
            file.write(_text(name) + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, size))
            file.write(self._bytes[start : start + size])
        rest = {alias: name for alias, name in aliases.items() if alias not in names}
        file.write(struct.pack("<I", len(rest)))
        file.writelines(b"".join(map(_text, pair)) for pair in rest.items())

    def _contents(self) -> tuple[dict[str, tuple[int, tuple[int, ...], int]], dict[str, str]]:
        """Type, shape and offset in the file of every variable; what every alias stands for."""
        reader = _Reader(self._bytes)
        version = reader.number("I")
        if not LEAST_VERSION <= version <= NEWEST_VERSION:
            raise ValueError(f"binary version {version}; known are {LEAST_VERSION} to {NEWEST_VERSION}")
        self.architecture = reader.text()
        reader.number("I")
        self._head = reader.skip(0)
        variables = {}
        for _ in range(reader.number("I")):
            name = reader.text()
            shape = tuple(reader.number("I") for _ in range(reader.number("B")))
            kind, size = reader.number("B"), reader.number("I")
            if kind >= len(_TYPES) or size != np.prod(shape, dtype=np.int64) * np.dtype(_TYPES[kind]).itemsize:
                raise ValueError(f"{name} has {size} bytes for type {kind} and shape {shape}")
            variables[name] = kind, shape, reader.skip(size)
        return variables, {reader.text(): reader.text() for _ in range(reader.number("I"))}


class _Reader:
    """A position that moves through bytes."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0

    def number(self, form: str) -> int:
        value: int = struct.unpack_from(f"<{form}", self._content, self._at)[0]
        self._at += struct.calcsize(form)
        return value

    def text(self) -> str:
        """A string with its length before it and a zero after it."""
        length = self.number("H")
        start = self.skip(length)
        return self._content[start : start + length - 1].decode("utf-8")

    def skip(self, size: int) -> int:
        start = self._at
        self._at += size
        if self._at > len(self._content):
            raise ValueError(f"it ends {self._at - len(self._content)} bytes too early")
        return start


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<H", len(encoded) + 1) + encoded + b"\0"
