"""
Train the model: `python -m demo.training.train BANK HELD_OUT_BANK CHECKPOINT --stages FRAMES:BATCH:MINUTES,…`.

Two processes share the weights and update them in place, without waiting for each other: pinned to a core each, they
are far faster on a small machine than one process with two threads. Set OMP_NUM_THREADS=1.
"""

import argparse
import itertools
import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from demo.training.bank import Bank
from demo.training.batch import collate
from demo.training.bpe import used_ids
from demo.training.losses import Losses, measure
from demo.training.model import Whisper
from demo.training.scene import FULL_FRAMES
from demo.training.window import make_window

WARM_UP_STEPS = 300
REPORT_EVERY = 200
HELD_OUT_WINDOWS = 16
FRAME_WEIGHT, FRAME_WEIGHT_FULL = 1.0, 0.3


@dataclass(frozen=True)
class Stage:
    """Windows of `frames` (10 ms), `batch` at a time, for `minutes`."""

    frames: int
    batch: int
    minutes: float

    @classmethod
    def parse(cls, text: str) -> "Stage":
        """Read `frames:batch:minutes`."""
        frames, batch, minutes = text.split(":")
        return cls(int(frames), int(batch), float(minutes))

    @property
    def frame_weight(self) -> float:
        """How much the word and phoneme of each frame count."""
        return FRAME_WEIGHT_FULL if self.frames == FULL_FRAMES else FRAME_WEIGHT


@dataclass(frozen=True)
class Plan:
    """What every process is to do."""

    stages: tuple[Stage, ...]
    first_rate: float
    last_rate: float
    seed: int
    checkpoint: Path

    def rate(self, elapsed_s: float, step: int) -> float:
        """The learning rate: a short rise, then half a cosine over the planned time."""
        share = min(1.0, elapsed_s / (60 * sum(stage.minutes for stage in self.stages)))
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        return (self.last_rate + (self.first_rate - self.last_rate) * cosine) * min(1, (step + 1) / WARM_UP_STEPS)


def main() -> None:
    """Train as the command line says, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bank", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--stages", required=True)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--last-rate", type=float, default=3e-5)
    parser.add_argument("--start", type=Path, help="a checkpoint, or the shipped weights.npz, to go on from")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    model = Whisper(used_ids())
    if arguments.start:
        model.load_state_dict(_read_state(arguments.start), strict=False)
    stages = tuple(Stage.parse(text) for text in arguments.stages.split(","))
    plan = Plan(stages, arguments.rate, arguments.last_rate, arguments.seed, arguments.checkpoint)
    bank = Bank(arguments.bank)
    held_out = Bank(arguments.held_out, bank.phoneme_class)
    model.share_memory()
    context = torch.multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_work, args=(rank, plan, model, bank, held_out)) for rank in range(arguments.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a training process failed")
    torch.save(model.state(), plan.checkpoint)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, or of `weights.npz`, which lacks the heads that only training uses."""
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return {
                name: torch.from_numpy(archive[name].astype(np.float32)) for name in archive.files if name != "meta"
            }
    state: dict[str, torch.Tensor] = torch.load(path)["model"]
    return state


def _work(rank: int, plan: Plan, model: Whisper, bank: Bank, held_out: Bank) -> None:
    os.sched_setaffinity(0, {rank % (os.cpu_count() or 1)})
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    rng = random.Random(plan.seed * 1000 + rank)
    optimiser = _optimiser(model, plan)
    began, steps = time.monotonic(), itertools.count()
    for stage in plan.stages:
        judged = collate(
            [make_window(held_out, random.Random(n), stage.frames) for n in range(HELD_OUT_WINDOWS)], model
        )
        stage_began = time.monotonic()
        while time.monotonic() - stage_began < stage.minutes * 60:
            step = next(steps)
            batch = collate([make_window(bank, rng, stage.frames) for _ in range(stage.batch)], model)
            for group in optimiser.param_groups:
                group["lr"] = plan.rate(time.monotonic() - began, step)
            losses = measure(model, batch, stage.frame_weight)
            optimiser.zero_grad(set_to_none=True)
            losses.total.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if torch.isfinite(norm):
                optimiser.step()
            if rank == 0 and step % REPORT_EVERY == 0:
                with torch.no_grad():
                    held = measure(model, judged, stage.frame_weight)
                minutes = (time.monotonic() - began) / 60
                print(f"{minutes:.1f} min, step {step}: {_line(losses)} | held out {_line(held)}", flush=True)
                torch.save(model.state(), plan.checkpoint)


def _optimiser(model: Whisper, plan: Plan) -> torch.optim.Optimizer:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.first_rate, betas=(0.9, 0.98), eps=1e-8)


def _line(losses: Losses) -> str:
    return (
        f"token {losses.token:.3f} guidance {losses.guidance:.3f} word {losses.word:.3f} "
        f"phoneme {losses.phoneme:.3f} accuracy {losses.accuracy:.3f}"
    )


if __name__ == "__main__":
    main()
