"""How many windows a device works on at a time."""

from dataclasses import dataclass

import torch

from transcription.settings import Worker
from worker.engines.torch.device.network import AUDIO_POSITIONS, TEXT_POSITIONS, Network

MOST_SLOTS, LEAST_SLOTS, CPU_SLOTS = 64, 4, 4
BATCH = 8
"""Windows that are encoded or aligned at once: the encoder is as quick with 8 as with 64."""

BEAMS = 5
SHARE = 0.6
"""
Of the free memory without the encodings that languages were told from, for slots; the rest is for other encodings,
batches in between and captured steps.
"""

LATER_SHARE = 0.8
"""The same of what is left when a search of another width is first asked for."""


@dataclass(frozen=True, slots=True)
class TorchLayout:
    """Windows written together, windows of a batch, and threads that bring them."""

    slots: int
    batch: int
    callers: int


def slot_bytes(network: Network, beams: int = BEAMS) -> int:
    """Memory of one window while it is written."""
    size = int(network.dtype.itemsize)
    return 2 * len(network.decoder.layers) * network.width * size * (AUDIO_POSITIONS + beams * TEXT_POSITIONS)


def encoding_bytes(network: Network) -> int:
    """Memory of what the encoder makes of one window: 3.8 MB with large in float16."""
    return AUDIO_POSITIONS * network.width * int(network.dtype.itemsize)


def layout(worker: Worker, network: Network, *, spans: int) -> TorchLayout:
    """Lay *network* out on its device, as far as *worker* leaves it open; so many *spans* keep an encoding there."""
    slots = worker.batch
    if not slots and network.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(network.device)
        free -= spans * encoding_bytes(network)
        slots = max(LEAST_SLOTS, min(MOST_SLOTS, int(free * SHARE) // slot_bytes(network)))
    slots = slots or CPU_SLOTS
    batch = min(BATCH, slots)
    # So many rows are on their way that slots are never empty, though a batch is handed on when its last row ends.
    return TorchLayout(slots, batch, worker.model_workers or 2 * -(-slots // batch) + 1)


def slots_now(network: Network, beams: int, most: int) -> int:
    """Slots of so many *beams* that there is memory for at this moment: 1 to *most*; on a CPU *most*."""
    if network.device.type != "cuda":
        return most
    free, _ = torch.cuda.mem_get_info(network.device)
    free += torch.cuda.memory_reserved(network.device) - torch.cuda.memory_allocated(network.device)
    return max(1, min(most, int(free * LATER_SHARE) // slot_bytes(network, beams)))
