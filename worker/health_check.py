"""
Whether this container's worker is well: `python -IS worker/health_check.py`, the image's health check.

It asks the ledger for the worker's last heartbeat, and whether it is in quarantine: see `worker.quarantine`.
`--alive` asks for the first alone, since starting a worker again mends no storage. A ledger that doesn't answer is no
reason to start the worker again. It runs every few seconds beside a busy model, so it uses the standard library alone:
30 ms instead of the second that Celery takes to import.
"""

import json
import os
import socket
import ssl
import sys
from io import BufferedIOBase
from typing import Any
from urllib.parse import unquote, urlsplit

LATE_S = 60.0
TIMEOUT_S = 3.0


def main() -> int:
    """Exit status 1 when the ledger answers and hasn't heard from the worker for a minute, or it is in quarantine."""
    words = [word for word in sys.argv[1:] if word != "--alive"]
    name = words[0] if words else f"worker@{socket.gethostname()}"
    try:
        now, seen, quarantine = ask(os.environ.get("MURMUR_LEDGER__URL") or "redis://127.0.0.1:6379/0", name)
    except (OSError, ValueError) as error:
        print(f"the ledger doesn't answer ({error}); whether {name} lives isn't known")
        return 0
    age_s = now - seen / 1000
    print(f"{name}: last heartbeat {age_s:.0f} s ago" if seen else f"{name}: no heartbeat yet")
    if quarantine:
        print(f"{name}: in quarantine: {quarantine}")
    return int(age_s > LATE_S or (bool(quarantine) and "--alive" not in sys.argv))


def ask(url: str, worker: str) -> tuple[float, float, str]:
    """The server's time in seconds, when *worker* was last seen, in milliseconds (0: never), and its quarantine."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    commands = [["SELECT", parts.path.strip("/") or "0"], ["TIME"], ["ZSCORE", "murmur:workers", worker]]
    commands.append(["HGET", f"murmur:worker:{worker}", "info"])
    if parts.password:
        commands.insert(0, ["AUTH", *([unquote(parts.username)] if parts.username else []), unquote(parts.password)])
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as plain:
        secure = parts.scheme == "rediss"
        stream = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        stream.sendall(b"".join(map(_command, commands)))
        with stream.makefile("rb") as replies:
            *_, (seconds, _microseconds), score, info = [_reply(replies) for _ in commands]
    return float(seconds), float(score or 0), str(json.loads(info or "{}").get("quarantine") or "")


def _command(words: list[str]) -> bytes:
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()


def _reply(replies: BufferedIOBase) -> Any:
    """One reply of the server: text, None, or a list of them. ValueError: an error."""
    head = replies.readline().decode().rstrip("\r\n")
    kind, rest = head[:1], head[1:]
    if kind == "$":
        return None if rest == "-1" else replies.read(int(rest) + 2)[:-2].decode()
    if kind == "*":
        return [_reply(replies) for _ in range(int(rest))]
    if kind in ("+", ":"):
        return rest
    raise ValueError(head or "the connection ended")


if __name__ == "__main__":
    sys.exit(main())
