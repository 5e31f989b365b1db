"""wrk, the load generator for plain requests, and what it says."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load.stack import OTHER_CORE, on

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_IN_TURN = """
local paths = {{ {paths} }}
local turn = 0
request = function()
  turn = turn % #paths + 1
  return wrk.format(nil, paths[turn])
end
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """Requests a second, the slowest hundredth in ms, and requests that failed or weren't answered 2xx or 3xx."""

    per_s: float
    p99_ms: float
    errors: int


def run(
    url: str, paths: Sequence[str], *, seconds: float, connections: int = 16, headers: Sequence[str] = ()
) -> Answered:
    """Ask for *paths* in turn, as fast as so many connections can, from a core of its own."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "turns.lua"
        script.write_text(_IN_TURN.format(paths=", ".join(f'"{path}"' for path in paths)))
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", str(script)]
        argv += [part for header in headers for part in ("-H", header)]
        said = subprocess.run(on([OTHER_CORE], [*argv, url]), capture_output=True, text=True, check=True).stdout
    return parsed(said)


def parsed(said: str) -> Answered:
    """What wrk printed."""
    per_s = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", said)
    if per_s is None or p99 is None:
        raise SystemExit(f"wrk said something else:\n{said}")
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    errors = int(other[1]) if other else 0
    errors += sum(map(int, sockets.groups())) if sockets else 0
    return Answered(float(per_s[1]), float(p99[1]) * _UNITS[p99[2]], errors)
