"""The parts of the OpenAPI document that FastAPI can't derive: bodies parsed by hand, and problems."""

import base64
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.auth.access import wants_key
from api.problems import Problem
from transcription.options import Options
from transcription.settings.security import Security

_REF = "#/components/schemas/{model}"
# A hundredth of a second of silence, 8 kHz mono: small enough to stand in a document.
_WAV = b"RIFF\xc4\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\xa0\0\0\0" + bytes(160)
_EXAMPLE = {
    "audio": base64.b64encode(_WAV).decode(),
    "filename": "hello.wav",
    "language": "en",
    "response_format": "srt",
    "word_timestamps": True,
}

DESCRIPTION = """\
Speech to text as jobs: hand in a recording, poll or wait, take the transcript in the format you need.

Errors are RFC 9457 problems with a stable `code`; every answer has an `x-request-id`.
"""

SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The audio as a form's file, as the body itself with the options in the query, or in JSON.",
        "content": {
            "multipart/form-data": {
                "schema": {"$ref": _REF.format(model="SubmitForm")},
                "encoding": {"file": {"contentType": "audio/*, video/*, application/octet-stream"}},
            },
            "application/json": {
                "schema": {"$ref": _REF.format(model="SubmitJson")},
                "example": _EXAMPLE,
            },
            **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("audio/*", "video/*")},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `murmur keys create` shows it."},
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in its own header.",
    },
}


def install(app: FastAPI, security: Security) -> None:
    """Make *app* serve the completed document; *security* says which routes want a key."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
            _add_keys(app.openapi_schema, security)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (Problem, Options):
        schema = model.model_json_schema(ref_template=_REF)
        for name, part in schema.pop("$defs", {}).items():
            schemas.setdefault(name, part)
        schemas.setdefault(model.__name__, schema)
    options = schemas["Options"]["properties"]
    file = {"type": "string", "format": "binary", "description": "The recording; any container that FFmpeg reads."}
    audio = {"type": "string", "format": "byte", "description": "The recording in base64, with padding."}
    name = {"type": "string", "description": "What the recording is called."}
    url = {"type": "string", "maxLength": 2000, "description": "Where to fetch the recording from: http or https."}
    fields = {field: _without_null(schema) for field, schema in options.items()}
    schemas["SubmitForm"] = _closed("A form with the recording and its options.", {"file": file, **fields}, "file")
    schemas["SubmitJson"] = _closed(
        "The recording, or the URL where it is, and its options as JSON.",
        {"audio": audio, "url": url, "filename": name, **options},
        "audio",
        "url",
    )
    _drop_own_validation_errors(document)
    return document


def _add_keys(document: dict[str, Any], security: Security) -> None:
    """Either header opens a route that wants a key; where keys aren't required, one may be sent and isn't looked at."""
    document["components"]["securitySchemes"] = _SCHEMES
    either: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if wants_key(path, security):
                operation["security"] = either if security.require_keys else [{}, *either]


def _drop_own_validation_errors(document: dict[str, Any]) -> None:
    """FastAPI adds its own 422 to every route with a parameter; ours are problems, and stand where they can happen."""
    for operations in document["paths"].values():
        for operation in operations.values():
            body = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
            if body.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
                del operation["responses"]["422"]
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A form has no null: what isn't set isn't sent."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    return {**kinds[0], **rest}


def _closed(description: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object with these properties and no others; *required*: one of these must be there."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        **_one_of(required),
        "additionalProperties": False,
    }


def _one_of(names: tuple[str, ...]) -> dict[str, Any]:
    return {"required": list(names)} if len(names) == 1 else {"oneOf": [{"required": [name]} for name in names]}
