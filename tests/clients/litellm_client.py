"""LiteLLM: `python litellm_client.py URL FILE`."""

import json
import sys
from pathlib import Path

import litellm
import openai

url, path = sys.argv[1:]
options = {"model": "openai/whisper-1", "api_base": f"{url}/v1", "api_key": "unused", "max_retries": 0}
with Path(path).open("rb") as file:
    plain = litellm.transcription(file=file, **options)
with Path(path).open("rb") as file:
    verbose = litellm.transcription(
        file=file, response_format="verbose_json", timestamp_granularities=["word"], **options
    )
try:
    with Path(path).open("rb") as file:
        litellm.transcription(file=file, language="xx", **options)
    refused = ""
except openai.BadRequestError as error:  # LiteLLM's own is one
    refused = type(error).__name__
print(json.dumps({"text": plain.text, "words": [word["word"] for word in verbose["words"]], "refused": refused}))
