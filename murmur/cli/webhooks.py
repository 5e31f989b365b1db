"""`murmur webhooks`: what was sent for a job, what came of it, and once more."""

from typing import Annotated

import typer

from murmur.client.client import DEFAULT_URL, Client
from murmur.client.responses import RemoteWebhooks

app = typer.Typer(help="Webhooks of a job: what was sent, and once more.", no_args_is_help=True)

Url = Annotated[str, typer.Option("--url", envvar="MURMUR_URL", help="Where the platform's API is.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job.")]


@app.command()
def log(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Show a job's messages and the latest tries at them, the oldest first."""
    with Client(url) as client:
        show(client.webhooks(job_id))


@app.command()
def replay(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Send a job's last message again, even to a receiver that has answered 410."""
    with Client(url) as client:
        show(client.replay_webhook(job_id))


def show(webhooks: RemoteWebhooks) -> None:
    """Print messages and tries, each on a line."""
    for message in webhooks.messages:
        due = f"again at {message.next_try_at.isoformat(' ', 'seconds')}" if message.next_try_at else ""
        print(message.id, message.type, message.state, f"{message.attempts} tries", due, sep="  ")
    for one in webhooks.tries:
        print(one.at.isoformat(" ", "seconds"), one.message, one.outcome, one.status or one.error or "", sep="  ")
