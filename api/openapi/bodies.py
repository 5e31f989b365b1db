"""How a recording is submitted: three bodies, parsed by hand, and options in the query."""

from typing import Any

from transcription.options import LONGEST_SAMPLE_S, MOST_KNOWN, SHORTEST_SAMPLE_S, Options

REF = "#/components/schemas/{model}"
BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
RAW_TYPE = "application/octet-stream"

_FILE = {**BINARY, "description": "The recording; any container that FFmpeg reads."}
_AUDIO = {"type": "string", "format": "byte", "description": "The recording in base64, with padding."}
_NAME = {"type": "string", "description": "What the recording is called."}
_URL = {"type": "string", "maxLength": 2000, "description": "Where to fetch the recording from: http or https."}


def _asked(schema: dict[str, Any]) -> dict[str, Any]:
    """An option as a request has it: its default in words, because generated clients make a must of a `default`."""
    asked = {name: value for name, value in schema.items() if name not in {"default", "title"}}
    default = schema.get("default")
    if default not in (None, [], ()):
        word = str(default).lower() if isinstance(default, bool) else default
        asked["description"] = f"{schema['description']} By default `{word}`."
    return asked


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A form has no null: what isn't set isn't sent."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**kinds[0], **rest} if len(kinds) == 1 else schema


_KNOWN = {
    "type": "object",
    "additionalProperties": {"type": "string", "format": "uri"},
    "maxProperties": MOST_KNOWN,
    "description": "Speakers by name, each with a sample of the voice as a data URL in base64, "
    f"{SHORTEST_SAMPLE_S:g} to {LONGEST_SAMPLE_S:g} s long: who sounds like one of them is called by that name. A form "
    "may bring files instead, `known_speakers[NAME]`.",
}
_OPTIONS = {name: _asked(schema) for name, schema in Options.model_json_schema(ref_template=REF)["properties"].items()}
_OPTIONS["known_speakers"] = _KNOWN
# The options as a form or a query has them.
FIELDS = {name: _without_null(schema) for name, schema in _OPTIONS.items()}


def _parameters() -> list[dict[str, Any]]:
    """The options as a query has them; with a raw body there is no other place."""
    shapes = {"filename": _NAME, **FIELDS}
    del shapes["known_speakers"]  # samples are too long for a URL
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": f"With a raw body: {schema['description'][0].lower()}{schema['description'][1:]}",
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in shapes.items()
    ]


def _closed(name: str, description: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {
        "title": name,
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def schemas() -> dict[str, dict[str, Any]]:
    """The components that the submission's bodies refer to."""
    json = {"audio": _AUDIO, "url": _URL, "filename": _NAME, **_OPTIONS}
    return {
        "SubmitForm": _closed("SubmitForm", "A form: the recording, its options.", {"file": _FILE, **FIELDS}, "file"),
        "SubmitJson": _closed("SubmitJson", "The recording (`audio`) or where it is (`url`), and its options.", json),
    }


SUBMISSION: dict[str, Any] = {
    "parameters": _parameters(),
    "requestBody": {
        "required": True,
        "description": "The audio as a form's file; or in JSON; or as the body itself with the options in the query, "
        "whose type may as well be any of audio/* and video/*.",
        "content": {
            "multipart/form-data": {
                "schema": {"$ref": REF.format(model="SubmitForm")},
                "encoding": {"file": {"contentType": "audio/*, video/*, application/octet-stream"}},
            },
            "application/json": {"schema": {"$ref": REF.format(model="SubmitJson")}},
            RAW_TYPE: {"schema": BINARY},
        },
    },
}
