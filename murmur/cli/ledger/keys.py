"""`murmur keys`: who may use the API. Straight against the ledger, so the first key needs no key."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from murmur.cli.json_output import AsJson, print_json
from murmur.cli.ledger.connection import DataDir, Ledger, connected, operator
from murmur.errors import CliError
from transcription.access import DEFAULT_TENANT, ApiKey, Scope
from transcription.ledger.tenants.api_keys import ApiKeyStore
from transcription.settings import Settings, networks

app = typer.Typer(help="API keys: make, list, rotate and revoke them in the ledger.", no_args_is_help=True)


def _renamed(url: str | None) -> str | None:
    if url is not None:
        print("murmur: --ledger-url is called --ledger now; the old name goes with the next version", file=sys.stderr)
    return url


LedgerUrl = Annotated[str | None, typer.Option(hidden=True, callback=_renamed)]

NEVER = "never"
_LENGTH = re.compile(r"(\d{1,5})([dhm])")
_UNITS_S = {"d": 86_400, "h": 3600, "m": 60}
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


Expires = Annotated[str, typer.Option(help="How long the key is valid: 90d, 12h, 30m; `never` [never].")]


@app.command("create")
def create(  # noqa: PLR0917  typer makes options of them
    name: Annotated[str, typer.Argument(help="Name of the key, for people.")],
    tenant: Annotated[str, typer.Option(help="Tenant of the key; keys of one tenant share its jobs.")] = DEFAULT_TENANT,
    scope: Annotated[list[Scope] | None, typer.Option(help="Scope of the key; repeat for more [submit, read].")] = None,
    tier: Annotated[str, typer.Option(help="Its tier of limits [the platform's default].")] = "",
    expires: Expires = NEVER,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Network that it may be used from, like 10.0.0.0/8; repeat for more [anywhere]."),
    ] = None,
    ledger: Ledger = None,
    ledger_url: LedgerUrl = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, once: only its hash is kept."""
    with _key_store(ledger or ledger_url, data_dir) as (key_store, settings):
        if not _TENANT.fullmatch(tenant):
            raise CliError(f"a tenant's name is 1 to 64 of A-Z a-z 0-9 . _ -; got {tenant[:80]!r}")
        if tier and tier not in settings.security.tiers:
            raise CliError(f"there is no tier {tier!r}; there are {', '.join(settings.security.tiers)}")
        key, secret = key_store.create(
            name=_shown(name),
            tenant=tenant,
            scopes=frozenset(scope or (Scope.SUBMIT, Scope.READ)),
            tier=tier,
            expires_at=_in(expires),
            networks=_networks(network or []),
        )
    _print_key(key, secret, as_json=as_json)


@app.command("rotate")
def rotate(  # noqa: PLR0917  typer makes options of them
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `murmur keys list` prints.")],
    overlap: Annotated[str, typer.Option(help="How long the old key stays valid: 7d, 12h, 30m.")] = "1d",
    expires: Expires = NEVER,
    ledger: Ledger = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key that may do what another may, and let that one expire."""
    overlap_s = _seconds(overlap)
    with _key_store(ledger, data_dir) as (key_store, _):
        made = key_store.rotate(key_id, overlap_s=overlap_s, expires_at=_in(expires))
        if made is None:
            raise CliError(f"there is no key {key_id[:80]!r} that is still good", status=1)
    _print_key(*made, as_json=as_json)
    print(f"key {key_id} expires in {overlap}", file=sys.stderr)


@app.command("list")
def list_keys(
    ledger: Ledger = None, ledger_url: LedgerUrl = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the keys, without their secrets."""
    with _key_store(ledger or ledger_url, data_dir) as (key_store, _):
        keys = key_store.list()
    if as_json:
        print_json([_shape(key) for key in keys])
        return
    table = Table("id", "name", "tenant", "may", "tier", "made", "used", "expires", "from", box=None, pad_edge=False)
    for key in keys:
        expires = "expired" if key.expired(time.time()) else _moment(key.expires_at)
        when = (_moment(key.created_at), _moment(key.used_at), expires)
        table.add_row(key.id, key.name, key.tenant, _may(key), key.tier or "-", *when, key.networks or "-")
    Console().print(table)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `murmur keys list` prints.")],
    ledger: Ledger = None,
    ledger_url: LedgerUrl = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key invalid, from its next request on."""
    with _key_store(ledger or ledger_url, data_dir) as (key_store, _):
        if not key_store.revoke(key_id):
            raise CliError(f"there is no key {key_id[:80]!r}", status=1)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        print(f"revoked {key_id}")


@contextmanager
def _key_store(url: str | None, data_dir: Path | None) -> Iterator[tuple[ApiKeyStore, Settings]]:
    with connected(url, data_dir) as (client, settings):
        yield ApiKeyStore(client, by=operator(), audit_length=settings.ledger.audit_length), settings


def _shape(key: ApiKey) -> dict[str, Any]:
    """A key for programs: times in seconds since 1970."""
    return {**asdict(key), "scopes": sorted(key.scopes), "expired": key.expired(time.time())}


def _print_key(key: ApiKey, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_shape(key), "secret": secret})
        return
    print(secret)
    until = f" until {_moment(key.expires_at)}" if key.expires_at else ""
    print(f"key {key.id} of tenant {key.tenant} may {_may(key)}{until}; its secret isn't shown again", file=sys.stderr)


def _moment(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds")


def _seconds(text: str) -> float:
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise CliError(f"a length of time is as 90d, 12h or 30m; got {text[:40]!r}")
    return int(match[1]) * _UNITS_S[match[2]]


def _in(text: str) -> float | None:
    return None if text == NEVER else round(time.time() + _seconds(text), 3)


def _networks(names: list[str]) -> str:
    try:
        return ",".join(str(network) for name in names for network in networks(name))
    except ValueError as error:
        raise CliError(f"--network takes networks as 10.0.0.0/8: {error}") from error


def _may(key: ApiKey) -> str:
    return ", ".join(sorted(key.scopes))


def _shown(name: str) -> str:
    kept = "".join(c for c in name if c.isprintable()).strip()[:100]
    if not kept:
        raise CliError("a key needs a name that people can read")
    return kept


COMMANDS = {"keys": app}
