"""The OpenAPI document: what FastAPI can't derive, in a form that clients can be generated from."""

from api.openapi.bodies import FIELDS, SUBMISSION
from api.openapi.document import DESCRIPTION, install

__all__ = ["DESCRIPTION", "FIELDS", "SUBMISSION", "install"]
