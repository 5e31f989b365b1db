"""A Whisper network in torch that is tiny and has learnt nothing."""

import torch

from worker.engines.marks import Marks
from worker.engines.torch.device.network import TEXT_POSITIONS, Cross, Decoder, Encoder, Layer, Linear, Network, Norm

# The tensors are tiny: threads would only wait for each other.
torch.set_num_threads(1)

WIDTH, HEADS, LAYERS, IDS = 16, 2, 2, 90
MARKS = Marks(size=IDS, end=30, start=31, no_speech=35, timestamps=39)


def linear(out: int, wide: int, dice: torch.Generator) -> Linear:
    return Linear(torch.randn(out, wide, generator=dice) * wide**-0.5, torch.randn(out, generator=dice) * 0.1)


def norm(dice: torch.Generator) -> Norm:
    return Norm(1 + 0.1 * torch.randn(WIDTH, generator=dice), 0.1 * torch.randn(WIDTH, generator=dice))


def layer(dice: torch.Generator) -> Layer:
    return Layer(
        norm(dice), linear(3 * WIDTH, WIDTH, dice), linear(WIDTH, WIDTH, dice),
        Cross(norm(dice), linear(WIDTH, WIDTH, dice), linear(2 * WIDTH, WIDTH, dice), linear(WIDTH, WIDTH, dice)),
        norm(dice), linear(4 * WIDTH, WIDTH, dice), linear(WIDTH, 4 * WIDTH, dice),
    )  # fmt: skip


def tiny_network() -> Network:
    """Of two layers, whose every text is a surprise; the same each time."""
    dice = torch.Generator().manual_seed(3)
    # Strong embeddings and positions: what comes next depends on all that came before. The last norm's bias makes ends
    # as likely as times, so that texts are of every length.
    last = Norm(torch.ones(WIDTH), 0.5 * torch.randn(WIDTH, generator=dice))
    embedding = torch.nn.functional.pad(torch.randn(IDS, WIDTH, generator=dice), (0, 0, 0, 3), value=9.0)
    decoder = Decoder(
        embedding, IDS, torch.randn(TEXT_POSITIONS, WIDTH, generator=dice),
        tuple(layer(dice) for _ in range(LAYERS)), last, HEADS,
    )  # fmt: skip
    decoder.padded[MARKS.end] += 2.5 * last.bias
    nothing = torch.zeros(1)
    encoder = Encoder((nothing, nothing), (nothing, nothing), nothing, (), norm(dice), HEADS)
    return Network(encoder, decoder, mels=80, alignment_heads=(), suppressed_first=())
