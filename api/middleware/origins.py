"""Who may call from where: the names this API goes by, and the origins whose pages may use it."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from transcription.settings import Api

_READABLE = ["x-request-id", "location", "retry-after", "etag", "content-disposition", "murmur-complete"]
_PREFLIGHT_S = 600


def install(app: FastAPI, settings: Api) -> None:
    """Make *app* refuse other Host headers, and answer browsers on the pages of the origins that *settings* name."""
    if "*" not in settings.trusted_hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.trusted_hosts), www_redirect=False)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=_READABLE,
            max_age=_PREFLIGHT_S,
        )
