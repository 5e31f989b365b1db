"""`murmur purge`: give up whatever waits."""

from murmur.client.client import Client
from murmur.client.errors import ApiError
from murmur.client.responses import Status

# Its turn came, or somebody else was faster.
_GONE = ("job_finished", "job_not_found")


def purge(client: Client) -> int:
    """Cancel every waiting job of the caller; how many it were. What runs goes on. ApiError."""
    count, cursor = 0, None
    while True:
        page = client.jobs(status=Status.QUEUED.value, limit=200, cursor=cursor)
        for job in page.jobs:
            try:
                client.cancel(job.id)
                count += 1
            except ApiError as error:
                if error.code not in _GONE:
                    raise
        cursor = page.cursor
        if cursor is None:
            return count
