"""Plain requests: how many a second, as a share of the bare route's in the same round."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.load import wrk
from bench.load.stack import Service, Stack, running
from demo import SAMPLES

JOBS = 50
MOST_S = 30.0


@dataclass(slots=True)
class Row:
    """A kind of request, where it goes, and what it is compared with; its rounds."""

    name: str
    service: Service
    url: str
    paths: Sequence[str]
    bare: "Row | None" = None
    headers: Sequence[str] = ()
    target: float | None = None
    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    errors: int = 0

    def measure(self, seconds: float) -> None:
        """One round: of *seconds*, or of more where so much else goes on that nothing was answered in them."""
        before, began = self.service.cpu_s(), time.monotonic()
        answered = wrk.run(self.url, self.paths, seconds=seconds, headers=self.headers)
        if not answered.per_s and not answered.errors and seconds < MOST_S:
            self.measure(2 * seconds)
            return
        spent, took = self.service.cpu_s() - before, time.monotonic() - began
        self.per_s.append(answered.per_s)
        self.cpu_ms.append(1000 * spent / max(1.0, answered.per_s * took))
        self.p99_ms.append(answered.p99_ms)
        self.errors += answered.errors

    def shares(self) -> list[float]:
        """Of the bare route's requests, round by round."""
        return [own / bare for own, bare in zip(self.per_s, self.bare.per_s, strict=True)] if self.bare else []

    def cpu_share(self) -> float | None:
        """The same by processor time, which other load on the machine affects less."""
        return statistics.median(self.bare.cpu_ms) / statistics.median(self.cpu_ms) if self.bare else None


def measure(*, seconds: float, rounds: int, through_nginx: bool = True, **settings: str) -> list[Row]:
    """Measure every kind of request in turn, round after round."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), through_nginx=through_nginx, worker=True, **settings) as stack,
    ):
        ended = _jobs(stack, JOBS)
        assert stack.worker is not None
        stack.worker.suspend()  # what is handed in from now on waits
        try:
            rows = _rows(stack, ended, _submitted(stack, JOBS, first=JOBS))
            for _ in range(rounds):
                for row in rows:
                    row.measure(seconds)
        finally:
            stack.worker.resume()  # or it wouldn't hear that it is to end
    return rows


def _rows(stack: Stack, ended: list[str], waiting: list[str]) -> list[Row]:
    api, bare = stack.api, stack.bare
    tag = httpx.get(f"{api.url}/v1/jobs/{ended[0]}").headers["etag"]
    done, open_ = ([f"/v1/jobs/{job}" for job in jobs] for jobs in (ended, waiting))
    rows: list[Row] = []
    for way, url, bare_url in (("", api.url, bare.url), (", through nginx", api.edge_url, bare.edge_url)):
        if url:
            plain = Row(f"bare route{way}", bare, bare_url, ["/plain"])
            asking = Row(f"bare route with one HGETALL{way}", bare, bare_url, ["/job"])
            rows += [
                plain,
                Row(f"`/health/live`{way}", api, url, ["/health/live"], plain, target=0.7),
                asking,
                Row(f"status of jobs that ended{way}", api, url, done, asking, target=0.6),
                Row(f"the same, unchanged (304){way}", api, url, done[:1], asking, [f"If-None-Match: {tag}"]),
                Row(f"status of jobs that wait{way}", api, url, open_, asking, target=0.6),
            ]
    return rows


def _jobs(stack: Stack, count: int) -> list[str]:
    ids = _submitted(stack, count)
    with httpx.Client(base_url=stack.api.url, timeout=90) as client:
        for job in ids:
            if client.get(f"/v1/jobs/{job}?wait=60").json()["status"] != "completed":
                raise SystemExit(f"job {job} didn't end")
    return ids


def _submitted(stack: Stack, count: int, *, first: int = 0) -> list[str]:
    flac = SAMPLES["short"].path.read_bytes()
    with httpx.Client(base_url=stack.api.url, timeout=60) as client:
        # Every recording differs in bytes that its decoder doesn't look at.
        return [
            client.post("/v1/jobs", files={"file": ("a.flac", flac + number.to_bytes(8, "big"))}).json()["id"]
            for number in range(first, first + count)
        ]


def table(rows: Sequence[Row]) -> str:
    """The rounds' medians; ranges in brackets."""
    lines = [
        "| request | a second | CPU ms | p99 ms | share of the bare route's | by CPU time | target | errors |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shares = row.shares()
        share = f"{statistics.median(shares):.2f} ({min(shares):.2f}–{max(shares):.2f})" if shares else ""
        target, by_cpu = f"≥ {row.target}" if row.target else "", row.cpu_share()
        lines.append(
            f"| {row.name} | {statistics.median(row.per_s):,.0f} | {statistics.median(row.cpu_ms):.3f} "
            f"| {statistics.median(row.p99_ms):.1f} | {share} "
            f"| {f'{by_cpu:.2f}' if by_cpu else ''} | {target} | {row.errors} |"
        )
    return "\n".join(lines)
