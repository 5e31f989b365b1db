"""docker-compose.yml and what is laid over it, read as Compose would: variables filled in, files merged."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from transcription.settings import Settings

ROOT = Path(__file__).parents[1]
# $$ is a dollar; ${NAME}, ${NAME:-default} (which may hold further ones), ${NAME:?message}, ${NAME:+instead}
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::?([-?+])((?:[^{}]|\$\{(?:[^{}]|\$\{[^{}]*\})*\})*))?\}")
# What the files of a service add to each other; all else of a later file takes the place of an earlier one's.
_KEYED = {"volumes": lambda entry: entry.split(":")[1], "ports": str}


class Missing(Exception):
    """A variable without which Compose refuses to start."""


class _Loader(yaml.CSafeLoader):
    """YAML with Compose's own tags, which take something out, or put it in the place of what was there."""


class Override(dict[str, Any]):
    """A mapping that isn't merged with the one before it."""


_Loader.add_constructor("!reset", lambda *_: RESET)


class Instead(list[Any]):
    """A list that isn't added to the one before it."""


def _override(loader: yaml.CSafeLoader, node: yaml.Node) -> "Override | Instead":
    if isinstance(node, yaml.SequenceNode):
        return Instead(loader.construct_sequence(node, deep=True))
    assert isinstance(node, yaml.MappingNode)
    return Override(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("!override", _override)
RESET = object()


def filled(text: str, environment: Mapping[str, str]) -> str:
    """*text* with its variables filled in. Missing."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, mark, rest = match[1], match[2], match[3] or ""
        if mark == "+":
            return filled(rest, environment) if environment.get(name) else ""
        if environment.get(name):
            return environment[name]
        if mark == "?":
            raise Missing(f"{name}: {rest}")
        return filled(rest, environment)

    return _VARIABLE.sub(value, text)


def stack(*files: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The merged configuration of docker-compose.yml and further *files*, by default with an empty environment."""
    merged: dict[str, Any] = {}
    for name in ("docker-compose.yml", *files):
        raw = yaml.load((ROOT / name).read_text("utf-8"), _Loader)
        merged = _merge(merged, _extended(_filled(raw, environment or {}), environment or {}), "")
    merged = _without_reset(merged)
    for service in merged["services"].values():
        if "environment" in service:
            service["environment"] = _passed_on(service["environment"], environment or {})
    return {key: value for key, value in merged.items() if not key.startswith("x-")}


def _extended(file: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """*file*, with the services that it builds on those of another file."""
    for name, service in file.get("services", {}).items():
        if isinstance(service, dict) and (base := service.pop("extends", None)):
            raw = yaml.load((ROOT / base["file"]).read_text("utf-8"), _Loader)
            file["services"][name] = _merge(_filled(raw, environment)["services"][base["service"]], service, "")
    return file


def _without_reset(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_reset(one) for key, one in value.items() if one is not RESET}
    return value


def _passed_on(variables: Mapping[str, str | None], environment: Mapping[str, str]) -> dict[str, str]:
    """A variable without a value has that of .env or the shell; where it has none, the container doesn't get it."""
    found = {name: environment.get(name) if value is None else value for name, value in variables.items()}
    return {name: value for name, value in found.items() if value is not None}


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return filled(value, environment)
    if isinstance(value, dict):
        return type(value)({key: _filled(one, environment) for key, one in value.items()})
    if isinstance(value, list):
        return type(value)(_filled(one, environment) for one in value)
    return value


def _merge(below: Any, above: Any, key: str) -> Any:
    if isinstance(below, dict) and isinstance(above, dict) and not isinstance(above, Override):
        return below | {name: _merge(below[name], one, name) if name in below else one for name, one in above.items()}
    if isinstance(above, Instead | Override):
        return above
    if isinstance(below, list) and isinstance(above, list) and key in _KEYED:
        entries = {_KEYED[key](entry): entry for entry in (*below, *above)}
        return list(entries.values())
    if key == "networks" and isinstance(below, list):
        return list(dict.fromkeys((*below, *above)))
    return above


def seconds(length: str) -> float:
    """A length of time as Compose writes it: `1m30s`."""
    parts = re.findall(r"(\d+)(ms|s|m|h)", length)
    assert parts, length
    assert "".join(f"{count}{unit}" for count, unit in parts) == length, length
    return sum(int(count) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for count, unit in parts)


def memory(size: str) -> int:
    """A size as Compose or Redis writes it: `1g`, `256mb`, `3Gi`."""
    found = re.fullmatch(r"(\d+)([kmg])i?b?", size.lower())
    assert found, size
    return int(found[1]) << {"k": 10, "m": 20, "g": 30}[found[2]]


STACK = stack()
SERVICES: dict[str, dict[str, Any]] = STACK["services"]


def mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """What a service mounts, by where: the source, and its mode after a colon."""
    found = {}
    for entry in service.get("volumes", ()):
        source, target, *mode = entry.split(":")
        found[target] = ":".join((source, *mode))
    return found


def settings_of(service: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the platform's own settings make of a service's environment."""
    for name, value in service["environment"].items():
        if name.startswith("MURMUR_"):
            monkeypatch.setenv(name, str(value))
    return Settings()
