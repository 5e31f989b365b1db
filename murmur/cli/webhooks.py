"""`murmur webhooks`: what was sent for a job, what came of it, and once more."""

import typer

from murmur.cli.common import JobId, Url, connect, found
from murmur.cli.json_output import AsJson, print_json
from murmur.client.responses import RemoteWebhooks

app = typer.Typer(help="Webhooks of a job: show what was sent; send the last one again.", no_args_is_help=True)


@app.command()
def log(job_id: JobId, as_json: AsJson = False, url: Url = None) -> None:
    """Show a job's messages and the latest tries at them, the oldest first."""
    with connect(url) as client:
        show(client.webhooks(found(client, job_id)), as_json=as_json)


@app.command()
def replay(job_id: JobId, as_json: AsJson = False, url: Url = None) -> None:
    """Send a job's last message again, even to a receiver that has answered 410."""
    with connect(url) as client:
        show(client.replay_webhook(found(client, job_id)), as_json=as_json)


def show(webhooks: RemoteWebhooks, *, as_json: bool) -> None:
    """Print messages and tries, each on a line."""
    if as_json:
        print_json(webhooks)
        return
    for message in webhooks.messages:
        due = f"again at {message.next_try_at.isoformat(' ', 'seconds')}" if message.next_try_at else ""
        print(message.id, message.type, message.state, f"{message.attempts} tries", due, sep="  ")
    for one in webhooks.tries:
        print(one.at.isoformat(" ", "seconds"), one.message, one.outcome, one.status or one.error or "", sep="  ")


COMMANDS = {"webhooks": app}
