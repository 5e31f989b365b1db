"""LangChain's loaders of audio: `python langchain_client.py URL FILE PARSER`."""

import json
import sys

from langchain_community.document_loaders.blob_loaders import Blob
from langchain_community.document_loaders.parsers.audio import AzureOpenAIWhisperParser, OpenAIWhisperParser

url, path, parser = sys.argv[1:]
if parser == "azure":
    made = AzureOpenAIWhisperParser(
        api_key="unused", azure_endpoint=url, api_version="2025-03-01", deployment_name="whisper-1"
    )
else:
    made = OpenAIWhisperParser(api_key="unused", base_url=f"{url}/v1", language="en")
documents = list(made.lazy_parse(Blob.from_path(path)))
print(json.dumps({"text": " ".join(document.page_content for document in documents)}))
