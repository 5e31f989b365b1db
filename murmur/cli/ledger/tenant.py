"""`murmur purge-tenant`: delete everything of one tenant, straight in the ledger and the store of recordings."""

import typer

from murmur.cli.json_output import AsJson, print_json
from murmur.cli.ledger.connection import DataDir, Ledger, connected, operator
from murmur.errors import CliError
from transcription.ledger.audit_heads import note
from transcription.ledger.connections.errors import translated
from transcription.ledger.tenants.api_keys import ApiKeyStore
from transcription.ledger.tenants.tenant_store import TenantStore
from transcription.storage.results import open_results
from transcription.storage.stores import open_blobs

_CLOCKS_S = 3600.0


def purge_tenant(
    tenant: str = typer.Argument(help="Tenant whose jobs, results, recordings and keys are deleted."),
    yes: bool = typer.Option(False, "--yes", help="Don't ask for confirmation."),
    ledger: Ledger = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Delete a tenant's jobs, results, keys, and recordings that no other tenant needs."""
    if not yes:
        typer.confirm(f"Delete everything of the tenant {tenant}?", abort=True)
    with connected(ledger, data_dir) as (client, settings):
        blobs = open_blobs(settings)
        length = settings.ledger.audit_length
        keys = ApiKeyStore(client, by=operator(), audit_length=length)
        # Keys first: nothing may come after its jobs were looked up.
        revoked = sum(keys.revoke(key.id) for key in keys.list() if key.tenant == tenant)
        jobs = TenantStore(client, settings).purge(
            tenant,
            discard=lambda sha256: blobs.discard(sha256, older_than_s=-_CLOCKS_S),
            results=open_results(settings),
        )
        with translated():
            note(client, "tenant purged", {"tenant": tenant, "jobs": str(jobs), "by": operator()}, stream_length=length)
    if not jobs and not revoked:
        raise CliError(f"there is nothing of a tenant {tenant[:80]!r}", status=1)
    if as_json:
        print_json({"tenant": tenant, "jobs": jobs, "keys": revoked})
        return
    print(f"{jobs} jobs and {revoked} keys of {tenant} are deleted; SECURITY.md says what may remain, and for how long")


COMMANDS = {"purge-tenant": purge_tenant}
