"""Attention for a few queries over many keys, by whichever way is quickest on this device."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from worker.engines.torch.device.captured import captured
from worker.engines.torch.device.network import AUDIO_POSITIONS, Network
from worker.engines.torch.device.sdpa import attend
from worker.engines.torch.device.streams import own_stream

Way = Callable[..., Tensor]
"""Of queries, keys, values, and a mask of (rows, 1, n, keys) or None."""

FEW = 16
"""
Queries for which the ways are made and measured. Only texts before a window have more, and for those Triton would
compile each size anew: for seconds, in the device's thread.
"""

TIMES = 20
TOLERANCE = 0.02
BEAMS, LOOKED_BACK = 5, 64

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attention:
    """The decoder's two attentions; of (rows, heads, n, width of a head) each."""

    of_sound: Way
    of_past: Way

    def whole(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend to everything."""
        way = self.of_sound if query.shape[2] <= FEW else plain
        return way(query, keys, values, None)

    def past(self, query: Tensor, keys: Tensor, values: Tensor, heeded: Tensor) -> Tensor:
        """Attend to what *heeded*, shape (rows, 1, n, keys), adds zero to; the rest has minus infinity there."""
        return self.of_past(query, keys, values, heeded)


def plain(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, kernel: SDPBackend | None = None
) -> Tensor:
    """Torch's own choice, or its *kernel*."""
    if mask is not None:
        mask = mask.expand(-1, query.shape[1], -1, -1)
    return attend(query, keys, values, mask, kernel=kernel)


def _products(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Two products: what a few queries need is no more than that."""
    scores = torch.matmul(query * query.shape[-1] ** -0.5, keys.transpose(2, 3))
    return torch.matmul(torch.softmax(scores if mask is None else scores + mask, -1), values)


def quickest(network: Network, rows: int) -> Attention:
    """Measure the ways on the device with *rows* windows; a CPU takes torch's own."""
    if network.device.type != "cuda":
        return Attention(plain, plain)
    heads, head = network.decoder.heads, network.width // network.decoder.heads

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, device=network.device, dtype=network.dtype)

    query = noise(rows, BEAMS, heads, head).transpose(1, 2)
    sound = [noise(rows, heads, AUDIO_POSITIONS, head) for _ in range(2)]
    past = [noise(rows, BEAMS * LOOKED_BACK, heads, head).transpose(1, 2) for _ in range(2)]
    mask = torch.zeros(rows, 1, BEAMS, BEAMS * LOOKED_BACK, device=network.device, dtype=network.dtype)
    mask[:, :, :, 100:] = -torch.inf
    ways = _ways()
    return Attention(_best("sound", ways, query, *sound, None), _best("past", ways, query, *past, mask))


def _ways() -> dict[str, Way]:
    found: dict[str, Way] = {
        "torch": plain,
        "flash": partial(plain, kernel=SDPBackend.FLASH_ATTENTION),
        "efficient": partial(plain, kernel=SDPBackend.EFFICIENT_ATTENTION),
        "cudnn": partial(plain, kernel=SDPBackend.CUDNN_ATTENTION),
        "products": _products,
    }
    try:
        kernels = importlib.import_module("worker.engines.torch.device.kernels")
    except ImportError:  # Triton comes with torch for CUDA, but needn't
        return found
    for block, warps in ((64, 4), (128, 4), (128, 8), (64, 2)):
        found[f"triton, blocks of {block}, {warps} warps"] = partial(kernels.few_queries, block=block, warps=warps)
    return found


def _best(what: str, ways: dict[str, Way], *given: Tensor | None) -> Way:
    """The quickest of those that run and say the same as torch's own."""
    like = plain(*given)
    times: dict[str, float] = {}
    missing: dict[str, str] = {"triton": "it isn't installed"}
    for name, way in ways.items():
        try:
            off = (way(*given) - like).abs().max().item()
            if off < TOLERANCE:  # and so no NaN
                times[name] = _ms(partial(way, *given), like.device)
            else:
                missing[name] = f"off by {off:.3f}"
        except Exception as error:  # noqa: BLE001  a compiler that isn't there, a kernel that the card lacks
            missing[name] = repr(error)[:300]
            log.debug("no such attention here", way=name, error=missing[name])
    if not any(name.startswith("triton") for name in times):
        why = next(said for name, said in reversed(missing.items()) if name.startswith("triton"))
        log.warning("no attention by Triton, steps are slower; it needs a C compiler (gcc)", of=what, error=why)
    chosen = min(times, key=times.__getitem__)
    log.info("attention measured", of=what, chosen=chosen, ms={name: round(ms, 3) for name, ms in times.items()})
    return ways[chosen]


def _ms(task: Callable[[], Tensor], device: torch.device) -> float:
    """
    A launch's time within a captured step, where Python costs nothing.

    Nothing but its own stream is waited for: while another model's thread captures, nobody may wait for the device.
    """

    def times() -> None:
        for _ in range(TIMES):
            task()

    with own_stream(device) as stream:
        task()
        graph, _ = captured(times, torch.cuda.graph_pool_handle())
        graph.replay()
        stream.synchronize()
        start = time.perf_counter()
        graph.replay()
        stream.synchronize()
    return (time.perf_counter() - start) / TIMES * 1e3
