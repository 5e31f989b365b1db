"""The OpenAPI document as generators of clients read it."""

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import av
import jsonschema_rs
import pytest

from api.app import create_app
from api.openapi.examples import REQUESTS, RESPONSES
from api.platform_schemas import WorkerOut
from transcription.options import Options
from transcription.ports import WorkerInfo
from transcription.settings import Settings

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Schema:
    return create_app(Settings(model="demo")).openapi()


@pytest.fixture(scope="module")
def operations(document: Schema) -> dict[str, Schema]:
    """By operation id."""
    every = [operation for methods in document["paths"].values() for operation in methods.values()]
    named = {operation["operationId"]: operation for operation in every}
    assert len(named) == len(every) > 40
    return named


def test_no_two_models_have_one_title(document: Schema) -> None:
    schemas: dict[str, Schema] = document["components"]["schemas"]
    titles = Counter(schema.get("title", name) for name, schema in schemas.items())
    assert titles
    assert [title for title, count in titles.items() if count > 1] == []
    assert [name for name in schemas if "__" in name] == []


def test_an_operation_s_id_is_a_name_that_a_program_can_have(operations: dict[str, Schema]) -> None:
    # Neither the path nor the method stands in it, as in `submit_v1_jobs_post`.
    bad = [name for name in operations if not name.isidentifier() or "_v1_" in name or name.endswith(("_get", "_post"))]
    assert bad == []


def test_an_operation_says_what_it_does_who_may_and_what_can_go_wrong(
    document: Schema, operations: dict[str, Schema], subtests: pytest.Subtests
) -> None:
    for name, operation in operations.items():
        with subtests.test(name):
            _assert_explained(document, operation)


def _assert_explained(document: Schema, operation: Schema) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert "security" in operation
    assert {tag["name"] for tag in document["tags"]} >= set(operation["tags"])
    assert [status for status in operation["responses"] if status.startswith("4")]


def test_an_operation_s_bodies_have_schemas_and_examples_that_fit(
    document: Schema, operations: dict[str, Schema], subtests: pytest.Subtests
) -> None:
    for name, operation in operations.items():
        with subtests.test(name):
            _assert_bodies_fit(document, operation)


def _assert_bodies_fit(document: Schema, operation: Schema) -> None:
    bodies = list(_bodies(operation))
    assert bodies
    for place, content in bodies:
        assert content.get("schema"), f"{place} has no schema"
        if place[0] in {"request", "200", "201", "202"}:
            assert "example" in content, f"{place} has no example"
        if "example" in content:
            schema = {**content["schema"], "components": document["components"]}
            errors = [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(content["example"])]
            assert errors == [], place


def _bodies(operation: dict[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield ("request", kind), content
    for status, response in operation["responses"].items():
        for kind, content in response.get("content", {}).items():
            yield (status, kind), content


def test_whoever_may_be_refused_or_waits_is_told_so(operations: dict[str, Schema]) -> None:
    keyless = {"get_health", "get_liveness", "get_readiness"}
    for name in operations.keys() - keyless:
        assert {"401", "403", "429", "500"} <= operations[name]["responses"].keys(), name
    waiting = {name for name in operations if name.endswith(("_transcribe", "_create_transcription", "_translation"))}
    waiting |= {"openai_server_create_chat_completion"}
    waiting -= {"production_scale_transcribe"}  # Whisper Serve's clients get a 400 or a 500 instead
    assert len(waiting) == 5
    # The job ends while its client waits: after its deadline, or because its retention is over.
    for name in waiting:
        assert {"409", "410", "503", "504"} <= operations[name]["responses"].keys(), name


def test_every_option_stands_in_the_query_for_a_raw_body(operations: dict[str, Schema]) -> None:
    named = {parameter["name"] for parameter in operations["submit_job"]["parameters"] if parameter["in"] == "query"}
    assert named == {*Options.model_fields, "filename"} - {"known_speakers"}  # too long for a URL


def test_answers_about_the_platform_are_typed(document: Schema, operations: dict[str, Schema]) -> None:
    schemas: dict[str, Schema] = document["components"]["schemas"]
    for name in ("list_models", "list_languages", "get_stats", "get_queue_health", "openai_get_model", "list_jobs"):
        schema = operations[name]["responses"]["200"]["content"]["application/json"]["schema"]
        model = schemas[schema["$ref"].rpartition("/")[2]]
        assert model["properties"]
        assert model["required"]


def test_a_worker_is_shown_with_all_that_is_known_of_it_but_its_process_and_port() -> None:
    assert {field.name for field in fields(WorkerInfo)} - {"pid", "metrics"} == set(WorkerOut.model_fields)


def test_the_document_says_where_the_platform_is_and_who_answers_for_it(document: Schema) -> None:
    assert document["servers"] == [{"url": "/", "description": "The platform that this document comes from."}]
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["info"]["contact"]
    assert json.dumps(document)


def test_examples_that_are_text_are_what_their_type_says() -> None:
    texts = [(kind, example) for answers in RESPONSES.values() for (_, kind), example in answers.items()]
    events = [one for kind, example in texts if kind == "text/event-stream" for one in example.strip().split("\n\n")]
    assert len(events) >= 4
    for event in events:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        if "retry" not in fields:
            assert fields["data"] == "[DONE]" or json.loads(fields["data"])
    subtitles = {example for kind, example in texts if kind == "application/x-subrip"}
    assert len(subtitles) == 1
    assert re.match(r"1\n00:00:00,000 --> 00:00:02,400\n", subtitles.pop())
    with av.open(io.BytesIO(base64.b64decode(REQUESTS["submit_job"]["application/json"]["audio"]))) as sound:
        assert sum(frame.samples for frame in sound.decode(audio=0)) == 80
