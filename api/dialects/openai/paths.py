"""Other paths under which clients look for OpenAI's API, and what in their requests belongs to the path."""

import re
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Receive, Scope, Send

_AUDIO = r"audio/(?:transcriptions|translations)"
_PATHS = (
    # Azure's: the deployment names the model.
    re.compile(rf"/openai/deployments/(?P<deployment>[^/]+)/(?P<rest>{_AUDIO})"),
    re.compile(r"/openai/v1/(?P<rest>.+)"),
    re.compile(rf"/(?P<rest>{_AUDIO})"),
)
_STARTS = ("/openai/", "/audio/")


class OpenAIPathMiddleware:
    """Serves `/audio/…`, `/openai/v1/…` and Azure's deployments as `/v1/…`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"].startswith(_STARTS):
            found = next((match for path in _PATHS if (match := path.fullmatch(scope["path"]))), None)
            if found:
                await self._serve(scope, receive, send, found)
                return
        await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, found: re.Match[str]) -> None:
        known = _rewritten(scope, f"/v1/{found['rest']}", found.groupdict().get("deployment"))
        try:
            await self._app(known, receive, send)
        finally:
            # Figures, the log and traces are written outside, by the route that answered.
            scope["route"] = known.get("route")


def _rewritten(scope: Scope, path: str, deployment: str | None) -> Scope:
    # Azure's clients say which version of the API they mean, which is no option, and have a header for the key.
    query = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1"), True) if pair[0] != "api-version"]
    headers = [(b"x-api-key" if name == b"api-key" else name, value) for name, value in scope["headers"]]
    state = scope.setdefault("state", {})
    state["deployment"] = deployment
    return {
        **scope,
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query).encode(),
        "headers": headers,
    }
