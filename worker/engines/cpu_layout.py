"""How a model is laid out on the cores that this process may use, and what they can do."""

from dataclasses import dataclass
from pathlib import Path

from transcription.settings import Worker

WIDE = {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw", "avx512_vbmi2"}
"""What a processor has from Ice Lake and Zen 4 on, which don't slow their clock for wide registers."""

DECODE_BATCH = 4
GPU_BATCH = 16
"""What a batch on a GPU is taken to be before its free memory is known."""

LEAST_SLOTS, MOST_SLOTS = 8, 64


@dataclass(frozen=True, slots=True)
class CpuLayout:
    """Model replicas that compute in parallel, threads of each, windows decoded together (None: what fits)."""

    workers: int
    threads: int
    batch: int | None


def layout(worker: Worker, *, device: str, cores: int) -> CpuLayout:
    """
    Lay the model out on *cores* for *device*, as far as *worker* leaves it open.

    On a CPU many replicas of one thread beat one replica of many (1.7 against 1 on two cores); never more threads
    than cores, but for the one that the batcher keeps for light rows. On a GPU two replicas share the weights, and
    one computes while the other's rows are looked through.
    """
    if device == "cuda":
        return CpuLayout(worker.model_workers or 2, worker.threads, worker.batch or None)
    threads = min(worker.threads, cores)
    return CpuLayout(worker.model_workers or cores // threads, threads, worker.batch or DECODE_BATCH)


def slots(worker: Worker, plan: CpuLayout) -> int:
    """Spans to have in work: those in all model workers' batches, and half as many that are prepared meanwhile."""
    at_once = plan.workers * (plan.batch or GPU_BATCH)
    return worker.slots or min(max(at_once * 3 // 2, LEAST_SLOTS), MOST_SLOTS)


def instruction_set(root: Path = Path("/")) -> str | None:
    """
    What CTranslate2 is to be told to use, as it takes AVX-512 only when told to; None: what it finds itself.

    The encoder takes 8 % less time with it (measured on Zen 4).

    Args:
        root: Where `proc` lies; tests have their own.
    """
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return "AVX512" if set(flags) >= WIDE else None
