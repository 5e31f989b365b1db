"""A platform of answers for the page: its files as they stand, one job as a test has it, no server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Route

ROOT = Path(__file__).parents[2]
URL = "http://murmur.test"
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


class FakedPlatform:
    """
    Answers a page's requests below `URL`, and keeps what it was asked: ``GET /v1/jobs/j1``.

    ``job`` is the job's answer, or what is called for each; ``events`` come once, and after them no more; ``result`` is
    its transcript; ``jobs`` are listed in pages. All other addresses of the API are not there.
    """

    def __init__(self, page: Page) -> None:
        self.job: dict[str, Any] | Callable[[], dict[str, Any]] | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.result: dict[str, Any] = {}
        self.jobs: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self._page = page
        page.route(f"{URL}/**", self._answer)

    def open(self, address: str = "#/jobs/j1") -> None:
        """Show a view."""
        self._page.goto(f"{URL}/{address}")

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(URL).partition("?")[0].partition("#")[0]
        self.asked.append(f"{route.request.method} {path}")
        if path == "/" or path.startswith("/web/"):
            self._file(route, path)
        elif path == "/v1/jobs":
            self._list(route)
        elif path == "/v1/jobs/j1/events":
            self._stream(route)
        elif path == "/v1/jobs/j1/result":
            route.fulfill(json=self.result)
        elif path.startswith("/v1/jobs/j1") and self.job is not None:
            route.fulfill(json=self.job() if callable(self.job) else self.job)
        else:
            route.fulfill(status=404, json={"code": "job_not_found", "detail": "there is no such job"})

    def _list(self, route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query)
        start, limit = int(asked.get("cursor", ["0"])[0]), int(asked["limit"][0])
        rest = str(start + limit) if len(self.jobs) > start + limit else None
        route.fulfill(json={"jobs": self.jobs[start : start + limit], "cursor": rest})

    def _stream(self, route: Route) -> None:
        events, self.events = enumerate(self.events), []
        text = "".join(f"id: {at}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for at, (kind, data) in events)
        if text:
            route.fulfill(body=text, content_type="text/event-stream")

    @staticmethod
    def _file(route: Route, path: str) -> None:
        names = {"/": "web/index.html", "/web/murmur.js": "clients/js/murmur.js"}
        file = ROOT / names.get(path, path.lstrip("/"))
        route.fulfill(body=file.read_text(encoding="utf-8"), content_type=KINDS[file.suffix])
