"""`murmur check`: whether the platform can work, part by part."""

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from murmur.client.client import Client
from murmur.client.errors import ApiError
from murmur.platform import allocator
from transcription.errors import MurmurationError
from transcription.media.confinement import LAYERS
from transcription.media.sandbox import Sandbox

_REACH = "transcription.media.reach:attempts"


@dataclass(frozen=True, slots=True)
class Finding:
    """One part: ``fit`` is False when the platform can't work like this, None for mere information."""

    part: str
    fit: bool | None
    detail: str


def check(client: Client) -> Iterator[Finding]:
    """Check every part of the platform behind *client*, the nearest first; the first dead one ends it."""
    try:
        health = client.health()
    except ApiError as error:
        yield Finding("API", False, f"{error.message}; `murmur up` starts a platform")
        return
    yield Finding("API", True, f"{client.url}, version {health.get('version', 'unknown')}")
    yield Finding("ledger", bool(health["ledger"]), "answers" if health["ledger"] else "can't be reached by the API")
    if not health["ledger"]:
        return
    if refusal := health.get("refusal"):
        yield Finding("submits", False, f"{refusal['message']} ({refusal['code']})")
    try:
        workers, models = client.workers(), client.models()
    except ApiError as error:
        yield Finding("workers", False, error.message)
        return
    yield Finding("workers", bool(workers), ", ".join(map(describe_worker, workers)) or "none lives")
    names = [str(model["id"]) for model in models if not model.get("alias_of") and model.get("workers", 1)]
    yield Finding("model", bool(names), ", ".join(names) or "none is served")
    for worker in workers:
        if worker.get("layout"):
            yield Finding("layout", None, f"{worker['id']}: {worker['layout']}")
        yield Finding("allocator", None, f"{worker['id']}: {describe_allocator(worker)}")
    yield check_sandbox()


def check_sandbox() -> Finding:
    """Try, on this machine, from inside the process that a hostile file would be opened in, what it can reach."""
    sandbox = Sandbox(_REACH, memory_bytes=256 << 20)
    try:
        with tempfile.NamedTemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            found = sandbox.run([file.fileno()], cpu_s=10, silence_s=30, path=file.name, port=port, process=os.getpid())
    except MurmurationError as error:
        return Finding("sandbox", False, error.message)
    finally:
        sandbox.close()
    missing = [layer for layer in LAYERS if layer not in found["layers"]]
    layers = f"this kernel grants {', '.join(found['layers']) or 'no layer'}"
    without = f", but not {', '.join(missing)}" if missing else ""
    if found["reached"]:
        return Finding("sandbox", None, f"{layers}{without}; a hostile file could: {', '.join(found['reached'])}")
    return Finding("sandbox", True, f"{layers}{without}; nothing outside was reached")


def describe_worker(worker: dict[str, Any]) -> str:
    """A worker in a few words."""
    rate = f", {worker['rate']:.1f} audio-seconds a second" if worker.get("rate") else ""
    return f"{worker['id']} ({worker['engine']} on {worker['device']}, {worker['compute_type']}{rate})"


def describe_allocator(worker: dict[str, Any]) -> str:
    """What a worker's memory allocator was told, if it is a process of ours on this machine."""
    name, _, host = str(worker["id"]).partition("@")
    if worker["host"] != socket.gethostname():
        return f"not known from here: it runs on {worker['host']}"
    for process in psutil.process_iter():
        try:
            argv = process.cmdline()
            if "worker.app" in argv and {f"{name}@%h", f"{name}@{host}"} & set(argv):
                return allocator.describe(process.environ())
        except psutil.Error:
            continue
    return "not known: its process can't be looked into"
