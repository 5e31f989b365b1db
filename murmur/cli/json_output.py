"""--json: what every command may write for programs."""

import json
import sys
from typing import Annotated

import typer
from pydantic import BaseModel

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


def print_json(value: object) -> None:
    """Write one value: a line where it goes to a program, indented for a person."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    print(json.dumps(plain, ensure_ascii=False, default=str, indent=2 if sys.stdout.isatty() else None), flush=True)
