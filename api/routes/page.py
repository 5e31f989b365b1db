"""The page for people at `/`: plain files, which ask nothing of anybody but this API."""

from pathlib import Path

import orjson
from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api import VERSION

router = APIRouter(include_in_schema=False)

# In a checkout they lie at its top; a wheel brings them along inside this package.
_PACKAGED = Path(__file__).parents[1] / "static"
ROOT = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2]
WEB = ROOT / "web"
CLIENT = ROOT / "clients" / "js" / "murmur.js"

# Nothing inline, nothing from elsewhere. Recordings are played from what the browser holds (blob:).
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept",
}
# Asked again each time, and answered with 304 while nothing has changed: an upgrade is seen at once.
_CACHE = {"Cache-Control": "no-cache"}
_PLACES = {
    "jobs": "/v1/jobs",
    "transcriptions": "/v1/audio/transcriptions",
    "models": "/v1/models",
    "health": "/health",
    "docs": "/docs",
    "openapi": "/openapi.json",
}


@router.api_route("/", methods=["GET", "HEAD"])
async def root(request: Request) -> Response:
    """The page where a browser asks, and for programs the addresses at which they go on."""
    if "text/html" in request.headers.get("accept", "") and WEB.is_dir():
        page = await PageFiles(directory=WEB).get_response("index.html", request.scope)
        page.headers.update(_HEADERS)
        return page
    return Response(_index(request), media_type="application/json", headers={"Vary": "Accept"} | _CACHE)


@router.api_route("/web/murmur.js", methods=["GET", "HEAD"])
async def client(request: Request) -> Response:
    """The client library for browsers, on which the page stands."""
    return await PageFiles(directory=CLIENT.parent).get_response(CLIENT.name, request.scope)


@router.api_route("/favicon.ico", methods=["GET", "HEAD"])
async def icon(request: Request) -> Response:
    """The icon, for browsers that look for it where icons used to be."""
    return await PageFiles(directory=WEB).get_response("icon.svg", request.scope)


class PageFiles(StaticFiles):
    """Files of the page, with the headers that they need."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file, or 304."""
        answer = await super().get_response(path, scope)
        answer.headers.update(_CACHE)
        return answer


def _index(request: Request) -> bytes:
    base = str(request.scope.get("root_path", ""))
    places = {name: f"{base}{path}" for name, path in _PLACES.items()}
    return orjson.dumps({"name": "Murmuration", "version": VERSION, **places})
