"""How these tests run programs."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

Script = Callable[..., Any]


def output(*argv: str | Path, cwd: Path = HERE, timeout_s: float = 110.0) -> str:
    """What a program printed; it must end well."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MURMUR_", "OPENAI_"))}
    env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_UPDATE_NOTIFIER": "1"}  # nothing is fetched from elsewhere
    argv = tuple(map(str, argv))
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
