"""The OpenAPI document is true: what it lets a client send never meets an answer that it doesn't describe."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from tests.platform import TestPlatform
from transcription.settings import Settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


schema = schemathesis.openapi.from_dict(create_app(Settings(model="demo")).openapi())


# It can't make bodies of audio/* and video/*, and says so; the other two forms of a submission it makes.
@pytest.mark.filterwarnings("ignore:Skipped test cases:UserWarning")
@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_an_answer_is_one_that_the_document_describes(case: schemathesis.Case[Any], platform: TestPlatform) -> None:
    case.call_and_validate(base_url=platform.url, checks=CHECKS, timeout=30)
