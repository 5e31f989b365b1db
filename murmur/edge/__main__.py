"""
Reads nginx's log and shows Prometheus what clients saw.

    python -m murmur.edge --log FILE --status URL

docker-compose.yml runs it beside nginx, which has no figures of its own that say more than its connections.
"""

import signal
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated

import structlog
import typer
from prometheus_client import start_http_server

from murmur.edge.log import Log
from murmur.edge.metrics import EdgeMetrics, registry
from transcription.observability.logs import configure

LOOK_S = 0.5


def main(
    log: Annotated[Path, typer.Option(help="The log that nginx writes for this.")],
    status: Annotated[str, typer.Option(help="The URL of nginx's stub_status.")],
    port: Annotated[int, typer.Option(help="Where to answer GET /metrics.")] = 9113,
    through: Annotated[str, typer.Option(envvar="EDGE_THROUGH", help="A page of nginx by way of its balancer.")] = "",
    wanted: Annotated[list[str] | None, typer.Option(help="How many replicas a service should have: api=2")] = None,
) -> None:
    """Show Prometheus what nginx saw, until it is stopped."""
    configure(level="INFO", style="json", service="edge-metrics")
    counts = {service: int(count) for service, _, count in (each.partition("=") for each in wanted or [])}
    counted, source, stops = EdgeMetrics(), Log(log), SimpleQueue[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not an event: what a signal interrupts may be holding that one's lock, and would never let it go.
        signal.signal(number, lambda number, _: stops.put(number))
    shown = registry(counted, status_url=status, through_url=through, wanted=counts)
    server, _ = start_http_server(port, registry=shown)
    structlog.get_logger().info("reading nginx's log", file=str(log), port=port)
    stopped = False
    while not stopped:
        with suppress(Empty):
            stopped = bool(stops.get(timeout=LOOK_S))
        source.read(counted.count)
    server.shutdown()


if __name__ == "__main__":
    typer.run(main)
