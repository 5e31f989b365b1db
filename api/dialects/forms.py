"""What OpenAPI says of the dialects' bodies, which are parsed while they come and so by hand."""

from typing import Any

from pydantic import BaseModel

from transcription.options import Options

FILE: dict[str, Any] = {
    "type": "string",
    "format": "binary",
    "description": "The recording or video; judged by its content.",
}
AUDIO: dict[str, Any] = {"type": "string", "format": "byte", "description": "The recording in base64, with padding."}

_REF = "#/components/schemas/{model}"


def options(*names: str) -> dict[str, Any]:
    """The schemas of the native options *names*, as a form has them: what isn't set isn't sent."""
    properties = Options.model_json_schema(ref_template=_REF)["properties"]
    return {name: _without_null(properties[name]) for name in names}


def body(*, form: dict[str, Any] | None = None, json: dict[str, Any] | None = None, required: str) -> dict[str, Any]:
    """A route's `openapi_extra`: a *form*'s fields, or a *json* object's, of which *required* must come."""
    content = {"multipart/form-data": form, "application/json": json}
    return {
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": _closed(it, required)} for kind, it in content.items() if it is not None},
        }
    }


def errors(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's error answers where they have a shape of their own."""
    return {status: {"model": model} for status in sorted({*statuses, 500})}


def _closed(properties: dict[str, Any], required: str) -> dict[str, Any]:
    needed = [required] if required in properties else []
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default", "title"}}
    return {**kinds[0], **rest} if len(kinds) == 1 else rest
