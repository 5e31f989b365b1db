"""From a submit to the claim by a worker that has nothing to do: by the ledger's own clock."""

import statistics
import tempfile
from datetime import datetime
from pathlib import Path

import httpx

from bench.load.clients import p99
from bench.load.stack import running
from demo import SAMPLES


def measure(count: int) -> list[float]:
    """Submit *count* short recordings one after the other; ms from each one's acceptance to its claim."""
    flac = SAMPLES["short"].path.read_bytes()
    waited = []
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), worker=True) as stack,
        httpx.Client(base_url=stack.api.url, timeout=90) as client,
    ):
        for number in range(count + 1):
            body = flac + number.to_bytes(8, "big")
            job = client.post("/v1/jobs", content=body, headers={"content-type": "audio/flac"}).json()["id"]
            ended = client.get(f"/v1/jobs/{job}?wait=60").json()
            if ended["status"] != "completed":
                raise SystemExit(f"job {job} is {ended['status']}")
            created, started = (datetime.fromisoformat(ended[name]) for name in ("created_at", "started_at"))
            waited.append(1000 * (started - created).total_seconds())
    return waited[1:]  # the first one loads the model


def table(waited: list[float]) -> str:
    """Median and p99."""
    return "\n".join(
        [
            "| from submit to claim, idle worker | n | median ms | p99 ms | target |",
            "|---|---|---|---|---|",
            f"| | {len(waited)} | {statistics.median(waited):.0f} | {p99(waited):.0f} | p99 ≤ 50 |",
        ]
    )
