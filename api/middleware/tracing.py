"""A trace around every request: its parent is the client's own, its child what the workers make of the job."""

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transcription.observability.tracing import Traces, open_traces, traceparent

_UNTRACED = ("/health", "/metrics")


def install(app: FastAPI) -> None:
    """Trace *app*'s requests, where traces have somewhere to go."""
    traces = open_traces("api")
    if traces.on:
        app.add_middleware(Tracing, traces=traces)


class Tracing:
    """Traces requests, and puts the `traceparent` into the request's state, from where it reaches the ledger."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self._app(scope, receive, send)
            return
        parent = Headers(scope=scope).get("traceparent", "")
        state = scope.setdefault("state", {})
        with self._traces.span(scope["method"], parent=parent, **{"http.request.method": scope["method"]}) as trace:
            state["traceparent"] = traceparent()

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    trace.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, note)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route:
                    trace.update_name(f"{scope['method']} {route}")
                    trace.set_attributes({"http.route": route, "murmur.request_id": state.get("request_id", "")})
