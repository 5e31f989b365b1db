"""The document: FastAPI's, completed."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.auth.access import wants_key
from api.openapi import bodies
from api.openapi.examples import REQUESTS, RESPONSES
from api.problems import MEDIA_TYPE, Problem
from transcription.options import Options
from transcription.settings.security import Security

DESCRIPTION = """\
Speech to text as jobs: hand in a recording, poll or wait, take the transcript in the format you need.

Errors are RFC 9457 problems with a stable `code`; every answer has an `x-request-id`.
"""

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `murmur keys create` shows it."},
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in its own header.",
    },
}
_TAGS = {
    "jobs": "Submit recordings, follow them, take transcripts.",
    "webhooks": "Word of a job's end, sent to a URL, and the secrets that sign it.",
    "models": "What can be asked for.",
    "health": "Whether the platform works.",
    "stats": "Figures for people and scripts.",
    "metrics": "Figures for Prometheus.",
    "admin": "For operators.",
    "openai": "OpenAI's audio API.",
    "openai server": "An OpenAI-like server that takes audio as JSON.",
    "mlx mvp": "The MLX MVP's API.",
    "production scale": "Production Scale's API.",
    "whisper serve": "Whisper Serve's API.",
    "microservice": "The Transcription Microservice's API.",
}
# Who runs a platform is known to its operator only; the document says so instead of naming nobody.
_CONTACT = {"name": "Whoever operates this platform"}
_LICENCE = {"name": "MIT", "identifier": "MIT"}
_PROBLEM = {
    "type": "urn:murmur:error:job_not_found",
    "title": "No such job.",
    "status": 404,
    "detail": "no job 'abc'",
    "code": "job_not_found",
    "request_id": "0b5ee7b0c1a94a9e",
}


def install(app: FastAPI, security: Security) -> None:
    """Make *app* serve the completed document; *security* says which routes want a key."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, security)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, security: Security) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        contact=_CONTACT,
        license_info=_LICENCE,
        # Wherever the document was fetched from: a platform doesn't know by what names it is reached.
        servers=[{"url": "/", "description": "The platform that this document comes from."}],
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (Problem, Options):
        schema = model.model_json_schema(ref_template=bodies.REF)
        for name, part in schema.pop("$defs", {}).items():
            schemas.setdefault(name, part)
        schemas.setdefault(model.__name__, schema)
    schemas |= bodies.schemas()
    _name_bodies(document)
    _drop_own_validation_errors(document)
    _add_keys(document, security)
    _add_examples(document)
    used = {tag for _, operation in operations(document) for tag in operation.get("tags", ())}
    document["tags"] = [{"name": tag, "description": text} for tag, text in _TAGS.items() if tag in used]
    return document


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every operation with its path."""
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def _name_bodies(document: dict[str, Any]) -> None:
    """A body that a route wrote down itself becomes a component: generated clients call it by its title."""
    schemas = document["components"]["schemas"]
    for _, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            title = content["schema"].get("title")
            if title:
                schemas[title] = content["schema"]
                content["schema"] = {"$ref": bodies.REF.format(model=title)}


def _add_keys(document: dict[str, Any], security: Security) -> None:
    """Either header opens a route that wants a key; where keys aren't required, one may be sent and isn't looked at."""
    document["components"]["securitySchemes"] = _SCHEMES
    either: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
    for path, operation in operations(document):
        wanted = either if security.require_keys else [{}, *either]
        operation["security"] = wanted if wants_key(path, security) else []


def _add_examples(document: dict[str, Any]) -> None:
    """A whole answer, and a whole request, for every operation."""
    for _, operation in operations(document):
        name = operation["operationId"]
        for kind, example in REQUESTS.get(name, {}).items():
            operation["requestBody"]["content"][kind]["example"] = example
        for (status, kind), example in RESPONSES.get(name, {}).items():
            operation["responses"][status]["content"][kind]["example"] = example
        for response in operation["responses"].values():
            for kind, content in response.get("content", {}).items():
                if kind == MEDIA_TYPE:
                    content["example"] = _PROBLEM


def _drop_own_validation_errors(document: dict[str, Any]) -> None:
    """FastAPI adds its own 422 to every route with a parameter; ours are problems, and stand where they can happen."""
    for _, operation in operations(document):
        body = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
        if body.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
            del operation["responses"]["422"]
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
