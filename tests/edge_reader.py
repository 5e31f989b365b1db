"""The process that reads a real nginx's log and shows what it counted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.edge import ROOT, Edge
from tests.free_port import free_port
from tests.platform import eventually

Samples = dict[tuple[str, ...], float]


class Reader:
    """A running `python -m murmur.edge`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/metrics"

    def answers(self) -> bool:
        """Whether it runs."""
        try:
            return httpx.get(self.url).is_success
        except httpx.TransportError:
            return False

    def samples(self, name: str, *labels: str) -> Samples:
        """Each series of *name* by the values of *labels*."""
        found = [
            sample
            for family in text_string_to_metric_families(httpx.get(self.url).text)
            for sample in family.samples
            if sample.name == name
        ]
        return {tuple(sample.labels[label] for label in labels): sample.value for sample in found if sample.value}


@contextmanager
def edge_reader(at: Edge, *, api: int = 1, through: str = "") -> Iterator[Reader]:
    """Run one beside *at*, to which the page *through* leads by way of its balancer, if it has one."""
    port = free_port()
    argv = [sys.executable, "-m", "murmur.edge", f"--log={at.counted}", f"--status={at.status_url}", f"--port={port}"]
    process = subprocess.Popen(
        [*argv, f"--wanted=api={api}", "--wanted=worker=1"],
        cwd=ROOT,
        env=os.environ | {"EDGE_THROUGH": through},
        stderr=subprocess.DEVNULL,
    )
    found = Reader(port)
    try:
        eventually(found.answers, within_s=30)
        yield found
    finally:
        process.terminate()
        assert process.wait(20) == 0
