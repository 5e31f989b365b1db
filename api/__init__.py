"""The HTTP side: FastAPI over one core of submit, look up, cancel."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("murmuration")
except PackageNotFoundError:
    VERSION = "0.0.0"
