"""Where the torch engine's time on a GPU goes: its kernels by name, and a few ways of doing the same."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from bench.engines.gpu.measurement import tried
from bench.engines.gpu.record import OUT, say
from bench.engines.gpu.scale import DEVICE, SIZES, model
from worker.engines.marks import marks_of
from worker.engines.torch.asked import Asked
from worker.engines.torch.device.align import Attention as TextAttention
from worker.engines.torch.device.attention import quickest
from worker.engines.torch.device.graphs import Steps
from worker.engines.torch.device.mel import LogMel, Sound
from worker.engines.torch.device.network import Network
from worker.engines.torch.device.rules import Rules
from worker.engines.torch.device.slots import Slots
from worker.engines.torch.device.weights import read_network


def kernels() -> None:
    """Which kernels a step, and the encoder, spend their time in; on a CPU there are none."""
    if DEVICE == "cuda":
        profile_engine(model(SIZES[0]), OUT / f"kernels-{SIZES[0]}.txt")


def ms(task: Callable[[], Any], times: int = 5) -> float:
    """Milliseconds of *task* on the device."""
    task()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        task()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / times * 1e3


def profile_engine(directory: Path, out: Path) -> None:
    """Time the encoder and steps of several sizes, and write the kernels' table to *out*."""
    network = read_network(directory, device="cuda", compute_type="float16")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    marks = marks_of(tokenizer, network.vocabulary)
    rules = Rules(marks, (), network.suppressed_first, "cuda")
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        for batch in (1, 8, 16, 32):
            mel = torch.randn(batch, network.mels, 3000, device="cuda")
            each = ms(lambda mel=mel: network.encoder(mel), 3)
            say(what="kernel", label=f"encoder, batch {batch}", ms=round(each, 2), win_s=round(batch / each * 1e3, 1))
        with out.open("w") as file:
            file.write(_table(lambda: network.encoder(torch.randn(8, network.mels, 3000, device="cuda")), "encoder, 8"))
            for beams in (5, 1):
                with tried(f"steps of {beams} beams"):
                    file.write(_steps(network, marks, rules, beams))
                file.flush()
            with tried("aligning"):
                file.write(_aligning(network, marks))
        for part in (_features, _attentions, _choices):
            with tried(part.__name__):
                part(network)


def _steps(network: Network, marks: Any, rules: Rules, beams: int) -> str:
    count = 64
    slots = Slots(network, marks, rules, quickest(network, count), count=count, beams=beams)
    sounds = [torch.randn(1, 1500, network.width, device="cuda", dtype=network.dtype)] * 8
    asked = [Asked((marks.start, marks.start + 1, marks.start + 101), 0, beams, 0.0, True, 220)] * 8

    def place() -> None:
        slots.place(list(range(8)), sounds, asked)

    say(what="kernel", label="place 8 windows", beams=beams, ms=round(ms(place), 2))
    for start in range(0, count, 8):
        slots.place(list(range(start, start + 8)), sounds, asked)
    steps = Steps(slots)
    for rows in (8, 32, count):
        for length in (64, 256):
            steps.run(rows, length, drawing=False)
            graph = steps._graphs[rows, length, False]  # noqa: SLF001
            each = ms(graph.replay, 10)
            say(what="kernel", label=f"step, {rows} windows x {beams}, looking back on {length}", ms=round(each, 2))
    return _table(lambda: slots.step(count, 64, drawing=False), f"step, {count} x {beams}")


def _aligning(network: Network, marks: Any) -> str:
    attend = TextAttention(network, marks)
    sounds = [torch.randn(1, 1500, network.width, device="cuda", dtype=network.dtype)] * 8
    start, text = (marks.start, marks.start + 1, marks.start + 101), list(range(100, 138))

    def task() -> None:
        attend(sounds, [start] * 8, texts=[text] * 8, frames=[1000] * 8)

    task()
    say(what="kernel", label="align 8 windows", ms=round(ms(task), 2))
    return _table(task, "align, 8")


def _features(network: Network) -> None:
    features, noise = LogMel(network.mels, network.device), np.random.default_rng(1).standard_normal(160_000)
    for label in ("at first", "again", "once more"):
        sounds = [Sound(noise.astype(np.float32), network.mels) for _ in range(8)]
        torch.cuda.synchronize()
        start = time.perf_counter()
        features(sounds)
        torch.cuda.synchronize()
        say(what="kernel", label=f"log-mel of 8 windows {label}", ms=round((time.perf_counter() - start) * 1e3, 2))


def _table(task: Callable[[], Any], label: str) -> str:
    task()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        task()
        torch.cuda.synchronize()
    return f"{label}\n{seen.key_averages().table(sort_by='cuda_time_total', row_limit=30, max_name_column_width=90)}\n"


def _attentions(network: Network) -> None:
    heads = network.decoder.heads
    head = network.width // heads

    def of(*shape: int) -> Tensor:
        return torch.randn(*shape, device="cuda", dtype=network.dtype)

    query, keys, values = of(64, heads, 5, head), of(64, heads, 1500, head), of(64, heads, 1500, head)
    past = [of(64, 64 * 5, heads, head).transpose(1, 2) for _ in range(2)]
    mask = torch.zeros(64, 1, 5, 320, device="cuda", dtype=network.dtype).expand(-1, heads, -1, -1)
    wide = [of(8, 1500, heads, head).transpose(1, 2) for _ in range(3)]
    ways: dict[str, Callable[[], Tensor]] = {}
    for backend in (
        SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH,
    ):  # fmt: skip

        def by(task: Callable[[], Tensor], backend: SDPBackend = backend) -> Tensor:
            with sdpa_kernel(backend):
                return task()

        ways[f"sound {backend.name}"] = lambda by=by: by(lambda: scaled_dot_product_attention(query, keys, values))
        ways[f"past {backend.name}"] = lambda by=by: by(
            lambda: scaled_dot_product_attention(query, *past, attn_mask=mask)
        )
        ways[f"encoder {backend.name}"] = lambda by=by: by(lambda: scaled_dot_product_attention(*wide))
    scale = head**-0.5

    def products() -> Tensor:
        return torch.softmax(torch.matmul(query * scale, keys.transpose(2, 3)), -1) @ values

    ways["sound, two products"] = products
    for label, task in ways.items():
        try:
            say(what="kernel", label=f"attention, {label}", ms=round(ms(task, 10), 3))
        except RuntimeError as error:
            say(what="kernel", label=f"attention, {label}", error=str(error).splitlines()[0][:120])
    _compiled(query)


def _compiled(query: Tensor) -> None:
    """Whether kernels can be compiled here at all."""
    try:
        compiled = torch.compile(lambda x: torch.softmax(x * 2 + 1, -1).sum(-1))
        start = time.perf_counter()
        compiled(query.float())
        say(what="kernel", label="torch.compile works", s=round(time.perf_counter() - start, 1))
    except Exception as error:  # noqa: BLE001  a figure too
        say(what="kernel", label="torch.compile", error=repr(error)[:300])


def _choices(network: Network) -> None:
    logits = torch.randn(320, network.vocabulary, device="cuda")
    penalty = torch.zeros(network.vocabulary, device="cuda")
    halves = logits.half()
    ways = {
        "topk 10 of 320 rows": lambda: logits.topk(10, -1),
        "topk 10 of 64 x 5 rows": lambda: logits.view(64, -1).topk(10, -1),
        "topk 10 of 320 rows, half": lambda: halves.topk(10, -1),
        "logsumexp": lambda: logits.logsumexp(-1),
        "amax": lambda: logits.amax(-1),
        "add in place": lambda: logits.add_(penalty),
        "softmax of 64": lambda: logits[:64].softmax(-1),
    }
    for label, task in ways.items():
        say(what="kernel", label=label, ms=round(ms(task, 10), 3))
