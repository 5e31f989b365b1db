"""
What encryption at rest costs an upload: `python -m bench.encryption [--megabytes 64] [--rounds 9]`.

Two APIs as processes, one of them with a key file, take the same recordings in turn; each recording is new to both.
"""

import argparse
import base64
import os
import secrets
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from murmur.platform.ledger_server import free_port
from tests.platform import eventually, running_ledger


def wav(megabytes: int) -> bytes:
    """Noise as a recording, long enough, and never the same twice."""
    size = megabytes << 20
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 2, 96_000, 384_000, 4, 16, b"data", size
    )
    return head + secrets.token_bytes(1 << 20) * megabytes


def api(directory: Path, ledger: str, **settings: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start an API, and give it and its URL."""
    port = free_port()
    told = {"MURMUR_MODEL": "demo", "MURMUR_DATA_DIR": str(directory), "MURMUR_LEDGER__URL": ledger}
    told |= {"MURMUR_API__PORT": str(port), "MURMUR_LIMITS__MAX_MEMORY_PERCENT": "100", **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "api.main"], env={**os.environ, **told}, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health/live").is_success
        except httpx.TransportError:
            return False

    eventually(answers, within_s=60)
    return process, url


def main() -> None:
    """Measure, and print the medians."""
    options = argparse.ArgumentParser()
    options.add_argument("--megabytes", type=int, default=64)
    options.add_argument("--rounds", type=int, default=9)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name, running_ledger(Path(name) / "ledger") as ledger:
        root = Path(name)
        (root / "keys").write_text(f"k1 {base64.b64encode(secrets.token_bytes(32)).decode()}\n")
        apis = {
            "plain": api(root / "plain", ledger.url),
            "encrypted": api(root / "encrypted", ledger.url, MURMUR_ENCRYPTION__KEY_FILE=str(root / "keys")),
        }
        taken: dict[str, list[float]] = {kind: [] for kind in apis}
        try:
            with httpx.Client(timeout=120) as http:
                for number in range(chosen.rounds + 1):
                    body = wav(chosen.megabytes)
                    for kind in sorted(apis, reverse=bool(number % 2)):
                        began = time.perf_counter()
                        answer = http.post(
                            f"{apis[kind][1]}/v1/jobs", content=body, headers={"content-type": "audio/wav"}
                        )
                        assert answer.status_code == 202, answer.text
                        if number:
                            taken[kind].append(time.perf_counter() - began)
                        http.delete(f"{apis[kind][1]}/v1/jobs/{answer.json()['id']}").raise_for_status()
        finally:
            for process, _ in apis.values():
                process.terminate()
                process.wait(20)
    middle = {kind: statistics.median(seconds) for kind, seconds in taken.items()}
    for kind, seconds in middle.items():
        print(f"{kind:<10}{seconds:.3f} s  {chosen.megabytes / seconds:.0f} MiB/s  (best {min(taken[kind]):.3f} s)")
    print(f"encrypted takes {100 * (middle['encrypted'] / middle['plain'] - 1):+.1f} %")


if __name__ == "__main__":
    main()
