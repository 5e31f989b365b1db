"""
Train the embedder: `python -m demo.training.speakers.train BANK HELD OUT.onnx --steps 4000`.

Prints the equal error rate on HELD, voices that aren't in BANK, and writes the network for onnxruntime.
"""

import argparse
import math
import time

import numpy as np
import torch
from torch import nn

from demo.training.speakers.crops import Crops
from demo.training.speakers.export import write
from demo.training.speakers.features import fbank
from demo.training.speakers.network import Classes, Embedder

BATCH, MIXED = 64, 24


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bank")
    parser.add_argument("held")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=3e-3)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    crops, held = Crops(args.bank, 1), Crops(args.held, 2)
    network, classes = Embedder(), Classes(crops.people)
    parameters = [*network.parameters(), *classes.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=args.rate, weight_decay=0.02)
    draw, began = np.random.default_rng(3), time.monotonic()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, step / 200) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        audio, people, both = crops.batch(BATCH, float(draw.uniform(0.8, 2.0)), mixed=MIXED)
        vectors, logits = network(fbank(audio))
        told = classes(vectors[:BATCH], people, 0.2 * min(1, step / 1500))
        frames = min(logits.shape[1], both.shape[1])
        cut_in = nn.functional.binary_cross_entropy_with_logits(logits[:, :frames], both[:, :frames])
        optimizer.zero_grad()
        (told + cut_in).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        if step % 200 == 199:
            rate = equal_error_rate(network, held)
            spent = time.monotonic() - began
            print(f"{step + 1} {spent:.0f}s loss {told:.3f} {cut_in:.3f} EER {rate:.2%}", flush=True)
            torch.save(network.state_dict(), args.out + ".pt")
    write(network.eval(), args.out)


def equal_error_rate(network: Embedder, held: Crops, seconds: float = 1.5, each: int = 640) -> float:
    """Where as many pairs of one voice are told apart as pairs of two are taken for one; crops as in training."""
    network.eval()
    with torch.no_grad():
        audio, people, _ = held.batch(each, seconds, mixed=0)
        vectors = nn.functional.normalize(network(fbank(audio))[0])
    network.train()
    same = people[:, None] == people[None]
    pairs = torch.ones_like(same).triu(1)
    likeness = vectors @ vectors.T
    own, others = likeness[pairs & same], likeness[pairs & ~same]
    at = torch.linspace(-0.5, 1, 301)
    missed = (own[None] < at[:, None]).float().mean(1)
    taken = (others[None] >= at[:, None]).float().mean(1)
    return float(torch.maximum(missed, taken).min())


if __name__ == "__main__":
    main()
