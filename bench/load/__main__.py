"""
Measure the control plane on this machine: `python -m bench.load PART… [--seconds 10]`.

The API and the bare app that it is compared with run on core 0, one at a time; wrk, the other clients, Valkey, nginx
and the worker on core 1. Several API processes use both.
"""

import argparse
from collections.abc import Callable

from bench.load import claims, clients, polls, uploads

PARTS = ("polls", "uploads", "claims", "clients")


def main() -> None:
    """Measure the parts that are named, and print a table for each."""
    parser = argparse.ArgumentParser(
        prog="bench.load", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=5, help="of each round of polls and uploads (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, help="of polls and uploads (default: 3)")
    parser.add_argument("--without-nginx", action="store_true", help="leave out the rows through nginx")
    parser.add_argument("--huge-mb", type=float, default=1000, help="size of the huge upload; 0: none (default: 1000)")
    parser.add_argument("--submits", type=int, default=200, help="for the time from submit to claim (default: 200)")
    parser.add_argument("--clients", type=int, default=5000, help="at once (default: 5000)")
    parser.add_argument("--hold", type=float, default=300, help="seconds that they are held (default: 300)")
    parser.add_argument("--step", type=float, default=10, help="seconds at each faster pace; 0: none (default: 10)")
    parser.add_argument("--ends", type=float, default=5, help="jobs that end in a second meanwhile (default: 5)")
    parser.add_argument("--processes", type=int, default=1, help="API processes under the clients (default: 1)")
    parser.add_argument("--server", default="uvicorn", help="the API's HTTP server: uvicorn or granian")
    given = parser.parse_args()
    server = {"API__SERVER": given.server}
    parts: dict[str, Callable[[], str]] = {
        "polls": lambda: polls.table(
            polls.measure(seconds=given.seconds, rounds=given.rounds, through_nginx=not given.without_nginx, **server)
        ),
        "uploads": lambda: uploads.table(
            uploads.measure(rounds=given.rounds, seconds=given.seconds, huge_bytes=round(given.huge_mb * 1e6), **server)
        ),
        "claims": lambda: claims.table(claims.measure(given.submits)),
        "clients": lambda: clients.table(
            clients.hold(
                clients=given.clients,
                seconds=given.hold,
                ends_per_s=given.ends,
                processes=given.processes,
                step_s=given.step,
                **server,
            )
        ),
    }
    for part in given.parts:
        print(f"**{part}**\n\n{parts[part]()}\n", flush=True)


if __name__ == "__main__":
    main()
