"""Whether a document passes the schemas that Kubernetes and the operators publish."""

import json
from functools import cache
from pathlib import Path

import jsonschema_rs
from kubernetes_validate import SchemaNotFoundError, ValidationError, utils, validate

from tests.kubernetes.charts import Document

VERSIONS = ("1.31", "1.37")
# Of KEDA, the Gateway API and the Prometheus operator, from their own definitions as of August 2026 (Apache-2.0): the
# parts that the chart uses, all else closed. A field that is new here is looked up there and added.
FOREIGN = {
    name: jsonschema_rs.validator_for(schema)
    for name, schema in json.loads((Path(__file__).parent / "crds.json").read_text("utf-8")).items()
}

# It reads megabytes of definitions anew for each document.
utils.schema_contents = cache(utils.schema_contents)


def faults(document: Document) -> list[str]:
    """What is wrong with a document; those that several profiles have are looked at once."""
    return _faults(json.dumps(document, sort_keys=True))


@cache
def _faults(text: str) -> list[str]:
    document: Document = json.loads(text)
    kind = f"{document['apiVersion']} {document['kind']}"
    if kind in FOREIGN:
        return [error.message for error in FOREIGN[kind].iter_errors(document)]
    try:
        for version in VERSIONS:
            assert validate(document, version, strict=True) == version
    except (ValidationError, SchemaNotFoundError) as error:
        return [str(error)]
    return []
