"""
Turn a checkpoint into the file that ships: `python -m demo.training.pack CHECKPOINT WEIGHTS`.

Prints the revision, which belongs into `demo/names.py`.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from demo.training.bpe import tokenizer_entries

TRAINING_ONLY = ("word_head.", "phoneme_heads.")


def main() -> None:
    """Pack as the command line says."""
    checkpoint, destination = map(Path, sys.argv[1:])
    pack(checkpoint, destination)
    print(f"{destination}: {destination.stat().st_size} bytes, revision", end=" ")
    print(hashlib.sha256(destination.read_bytes()).hexdigest()[:12])


def pack(checkpoint: Path, destination: Path) -> None:
    """Write the weights in float16, with the tokenizer's entries, so that export needs neither torch nor tiktoken."""
    state = torch.load(checkpoint)
    arrays = {
        name: tensor.float().numpy().astype(np.float16)
        for name, tensor in state["model"].items()
        if not name.startswith(TRAINING_ONLY)
    }
    entries = [(token.id, token.content.hex(), token.left.hex()) for token in tokenizer_entries(state["used"])]
    meta = {"cfg": state["cfg"], "used": state["used"], "tokens": entries}
    encoded = json.dumps(meta, separators=(",", ":")).encode()
    np.savez_compressed(destination, meta=np.frombuffer(encoded, np.uint8), **arrays)


if __name__ == "__main__":
    main()
