"""
Whether an API process answers on this host: the image's health check, `python -IS api/health_check.py`.

It asks nothing but whether the process lives: starting it again would mend no ledger. The standard library alone.
"""

import os
import sys
import urllib.request

TIMEOUT_S = 2.0


def main() -> int:
    """Exit status 1 when it doesn't answer in time."""
    port = os.environ.get("MURMUR_API__PORT") or "8000"
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=TIMEOUT_S).close()
    except OSError as error:
        print(f"no answer: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
