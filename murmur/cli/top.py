"""`murmur top`: queue and workers, live."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from murmur.cli.common import Url, connect
from murmur.cli.json_output import AsJson, print_json
from murmur.client.client import Client
from murmur.client.errors import ApiError


def top(
    each_s: Annotated[float, typer.Option("--each", min=0.2, help="Seconds between two checks.")] = 1.0,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show queue and workers, live; with --json once."""
    with connect(url, timeout_s=10.0) as client:
        if as_json:
            print_json(client.stats())
        else:
            show(client, Console(), each_s=each_s)


def show(client: Client, console: Console, *, each_s: float, rest: Callable[[float], None] = time.sleep) -> None:
    """Show the platform until Ctrl-C; once, where nobody watches. ApiError: it can't be reached at first."""
    stats = client.stats()
    if not console.is_terminal:
        console.print(view(stats))
        return
    with Live(view(stats), console=console, screen=True, auto_refresh=False) as live:
        while True:
            rest(each_s)
            try:
                stats = client.stats()
                live.update(view(stats), refresh=True)
            except ApiError as error:
                live.update(Group(Text(f"{error}; the last that is known:", "bold red"), view(stats)), refresh=True)


def view(stats: dict[str, Any]) -> Group:
    """One refresh."""
    jobs, queue, workers = stats["jobs"], stats["queue"], stats["workers"]
    rate = sum(worker.get("rate") or 0.0 for worker in workers)
    hits = stats["cache"]["hit_ratio"]
    facts = Text(
        f"{jobs['queued']} waiting ({queue['audio_seconds']:.0f} s of audio), {jobs['processing']} at work, "
        f"{jobs['completed']} completed, {jobs['failed']} failed\n"
        f"{len(workers)} workers, {rate:.1f} audio-seconds a second, "
        f"{'no' if hits is None else f'{hits:.0%}'} answers from the cache, {stats['dead_letters']} dead letters"
    )
    table = Table("worker", "model", "engine", "device", "rate", "at work", box=None, pad_edge=False)
    for worker in workers:
        speed = f"{worker['rate']:.1f}×" if worker.get("rate") else "-"
        work = f"{worker['running']} of {worker['slots']}"
        table.add_row(worker["id"], ", ".join(worker["models"]), worker["engine"], worker["device"], speed, work)
    return Group(facts, Text(), table)


COMMANDS = {"top": top}
