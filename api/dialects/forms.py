"""What OpenAPI says of the dialects' bodies, which are parsed while they come and so by hand."""

from typing import Any

from pydantic import BaseModel

from api.openapi import FIELDS
from api.problems import ANYWHERE

FILE: dict[str, Any] = {
    "type": "string",
    "format": "binary",
    "description": "The recording or video; its type is detected from its content.",
}
AUDIO: dict[str, Any] = {"type": "string", "format": "byte", "description": "The recording in base64, with padding."}


IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same payload gives the same job, for a day.",
    "schema": {"type": "string"},
}
REQUEST_ID: dict[str, Any] = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "What the log and the answer call this request; by default a new id.",
    "schema": {"type": "string"},
}


def options(*names: str) -> dict[str, Any]:
    """The schemas of the native options *names*, as a form has them: what isn't set isn't sent."""
    return {name: FIELDS[name] for name in names}


def body(
    name: str, *, form: dict[str, Any] | None = None, json: dict[str, Any] | None = None, required: str
) -> dict[str, Any]:
    """
    A route's `openapi_extra`: a *form*'s fields, or a *json* object's, of which *required* must come.

    *name* is what generated clients call it, with `Form` or `Json` after it.
    """
    header = REQUEST_ID if name == "AudioInfo" else IDEMPOTENCY_KEY
    content = {"multipart/form-data": (f"{name}Form", form), "application/json": (f"{name}Json", json)}
    return {
        "parameters": [header],
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": _closed(title, fields, required)}
                for kind, (title, fields) in content.items()
                if fields is not None
            },
        },
    }


def errors(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's error answers where they have a shape of their own."""
    return {status: {"model": model} for status in sorted({*statuses, *ANYWHERE})}


def _closed(title: str, properties: dict[str, Any], required: str) -> dict[str, Any]:
    needed = [required] if required in properties else []
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }
