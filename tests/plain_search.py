"""A search for what a window says that is written down plainly, and what it and the torch engine's are asked alike."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tests.tiny_network import HEADS, IDS, MARKS, WIDTH
from worker.engines.torch.asked import Asked
from worker.engines.torch.device.attention import Attention, plain
from worker.engines.torch.device.loop import Loop
from worker.engines.torch.device.network import Network
from worker.engines.torch.device.rules import Rules
from worker.engines.torch.device.slots import Slots, Written

NOT_FIRST, NEVER = (3, 30), (7, 31, 32, 33, 34, 35, 36, 37)
START = (31, 32, 34)
"""The tokens that a transcript begins with: its mark, a language, a task."""


def slots_of(network: Network, count: int, beams: int) -> Slots:
    rules = Rules(MARKS, NEVER, NOT_FIRST, "cpu")
    return Slots(network, MARKS, rules, Attention(plain, plain), count=count, beams=beams)


class Plainly:
    """What Whisper's decoder says, computed anew for every text, and a search over it."""

    def __init__(self, network: Network, sound: Tensor) -> None:
        self._decoder = network.decoder
        self._heard = [one.cross.keys_values(sound, HEADS) for one in network.decoder.layers if one.cross]

    def logits(self, texts: list[list[int]]) -> Tensor:
        """Of each place in *texts*, which are of one length: what may come next, shape (texts, tokens, ids)."""
        decoder, count = self._decoder, len(texts)
        x = decoder.embed(torch.tensor(texts), torch.arange(len(texts[0])))
        for one, (keys, values) in zip(decoder.layers, self._heard, strict=True):
            query, key, value = (part.transpose(1, 2) for part in one.split(x, HEADS))
            found = scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + one.out(found.transpose(1, 2).flatten(2))
            heard = keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1)
            x = one.feed(decoder.listen(one, x, *heard, scaled_dot_product_attention))
        return decoder.logits(x)

    def no_speech(self, asked: Asked) -> float:
        """The chance that nobody speaks, told at the start mark."""
        return float(self.logits([[*asked.prompt]])[0, asked.start].softmax(-1)[MARKS.no_speech])

    def next(self, asked: Asked, written: list[list[int]]) -> Tensor:
        """Logarithms of the probabilities of what may follow each of *written*, shape (texts, ids)."""
        logits = self.logits([[*asked.prompt, *text] for text in written])[:, -1].clone()
        times = [[token for token in text if token >= MARKS.timestamps] for text in written]
        Rules(MARKS, NEVER, NOT_FIRST, "cpu").apply(
            logits,
            first=torch.tensor([not text for text in written]),
            timed=torch.tensor([asked.timed] * len(written)),
            last=torch.tensor([text[-1:] >= [MARKS.timestamps] for text in written]),
            before=torch.tensor([len(text) < 2 or text[-2] >= MARKS.timestamps for text in written]),
            latest=torch.tensor([found[-1] if found else 0 for found in times]),
        )
        return logits.log_softmax(-1)

    def search(self, asked: Asked) -> Written:
        """The best of as many texts as there are beams; a beam's place that ended goes to the next best."""
        beams: list[tuple[float, list[int]]] = [(0.0, [])]
        ended: list[tuple[float, list[int]]] = []
        for number in range(asked.limit):
            chances = self.next(asked, [text for _, text in beams])
            totals, where = (torch.tensor([[score] for score, _ in beams]) + chances).flatten().topk(2 * asked.width)
            options = [
                (total, [*beams[index // IDS][1], index % IDS])
                for total, index in zip(totals.tolist(), where.tolist(), strict=True)
                if total > -math.inf
            ]
            last = number + 1 == asked.limit
            for score, text in options[: asked.width]:
                said = text[:-1] if text[-1] == MARKS.end else text
                if (text[-1] == MARKS.end or last) and said:
                    ended.append((score / len(said), said))
                elif text[-1] == MARKS.end:
                    ended.append((-math.inf, []))
            if len(ended) >= asked.width or last:
                break
            beams = [pair for pair in options if pair[1][-1] != MARKS.end][: asked.width]
        best = max(ended, key=lambda pair: pair[0])
        return Written(best[1], best[0], self.no_speech(asked))


def sound_of(seed: int) -> Tensor:
    return torch.randn(1, 1500, WIDTH, generator=torch.Generator().manual_seed(seed)) * 2


@dataclass(frozen=True)
class Wish:
    sound: int
    asked: Asked


def written_by(loop: Loop, given: list[Wish]) -> list[Written]:
    futures = loop.write([sound_of(wish.sound) for wish in given], [wish.asked for wish in given])
    return [future.result(60)() for future in futures]


def assert_alike(ours: Written, theirs: Written, wish: Wish) -> None:
    assert ours.tokens == theirs.tokens, wish
    assert ours.score == pytest.approx(theirs.score, abs=1e-4), wish
    assert ours.no_speech == pytest.approx(theirs.no_speech, abs=1e-5), wish
