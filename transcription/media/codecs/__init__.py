"""What reaches a demuxer. No module imports it: the sandbox runs it by name, in a process of its own."""

import importlib
import pkgutil

import av

# PyAV imports some of its parts when a file first needs them, and a process that is locked in can't.
for part in pkgutil.walk_packages(av.__path__, "av."):
    if not part.name.startswith(("av.__", "av.datasets")):  # these download
        importlib.import_module(part.name)
