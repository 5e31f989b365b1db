"""
What the OpenAPI document lets a client send, sent to the platform at PLATFORM_URL: test_openapi.py runs this file.

It is a process of its own, since every process of tests would need seconds to read the document and to make its cases.
"""

import os
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
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_an_answer_is_one_that_the_document_describes(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(base_url=os.environ["PLATFORM_URL"], checks=CHECKS, timeout=30)
