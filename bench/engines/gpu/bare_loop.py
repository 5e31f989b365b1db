"""What torch alone does with large's dimensions and random weights: the bar that our engine is held to."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv1d, embedding, gelu, layer_norm, linear, log_softmax, scaled_dot_product_attention

from bench.engines.gpu.record import say
from bench.engines.gpu.scale import DEVICE, TINY

LAYERS, WIDTH, HEADS, DTYPE = (2, 128, 2, torch.float32) if TINY else (32, 1280, 20, torch.float16)
MELS, VOCABULARY, TIMESTAMPS, END = 128, 51866, 50364, 50257
SOUND, TEXT, STEPS = 1500, 64, 40
SIZES = ((2, 5),) if TINY else ((64, 5), (64, 1), (16, 5), (1, 5))
"""Windows and beams, what is compared first."""


class Layer(NamedTuple):
    """One layer's weights; ``cross`` (query, key and value, out) in the decoder alone."""

    qkv: Tensor
    out: Tensor
    feed_in: Tensor
    feed_out: Tensor
    cross: tuple[Tensor, Tensor, Tensor] | None


def noise(*shape: int) -> Tensor:
    """Weights."""
    return torch.randn(*shape, device=DEVICE, dtype=DTYPE) * 0.02


def layers(*, cross: bool) -> list[Layer]:
    """As many as there are."""
    wide, narrow = (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)
    return [
        Layer(
            noise(3 * WIDTH, WIDTH), noise(WIDTH, WIDTH), noise(*wide), noise(*narrow),
            (noise(WIDTH, WIDTH), noise(2 * WIDTH, WIDTH), noise(WIDTH, WIDTH)) if cross else None,
        )
        for _ in range(LAYERS)
    ]  # fmt: skip


def norm(x: Tensor) -> Tensor:
    """A layer norm that has learnt nothing."""
    return layer_norm(x, (WIDTH,))


def feed(layer: Layer, x: Tensor) -> Tensor:
    """A layer's end."""
    return x + linear(gelu(linear(norm(x), layer.feed_in)), layer.feed_out)


class Encoder:
    """Log-mel of (rows, 128, 3000) to (rows, 1500, width)."""

    def __init__(self) -> None:
        self._first, self._second, self._positions = noise(WIDTH, MELS, 3), noise(WIDTH, WIDTH, 3), noise(SOUND, WIDTH)
        self._layers = layers(cross=False)

    def __call__(self, mel: Tensor) -> Tensor:
        """Encode."""
        x = gelu(conv1d(mel, self._first, padding=1))
        x = gelu(conv1d(x, self._second, stride=2, padding=1)).transpose(1, 2) + self._positions
        rows = x.shape[0]
        for layer in self._layers:
            shape = rows, SOUND, 3, HEADS, WIDTH // HEADS
            query, key, value = linear(norm(x), layer.qkv).view(shape).permute(2, 0, 3, 1, 4)
            found = scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(rows, SOUND, WIDTH)
            x = feed(layer, x + linear(found, layer.out))
        return norm(x)


class Decoder:
    """So many windows of so many beams: a step with Whisper's rules of times, whose caches are reordered by copies."""

    def __init__(self, rows: int, beams: int) -> None:
        self._rows, self._beams = rows, beams
        self._layers, self._embedding, self._positions = layers(cross=True), noise(VOCABULARY, WIDTH), noise(448, WIDTH)
        count, head = rows * beams, WIDTH // HEADS
        shape, sound = (count, HEADS, TEXT, head), (rows, HEADS, SOUND, head)
        self._keys = [torch.zeros(shape, device=DEVICE, dtype=DTYPE) for _ in range(LAYERS)]
        self._values = [torch.zeros(shape, device=DEVICE, dtype=DTYPE) for _ in range(LAYERS)]
        self._sound = [[torch.zeros(sound, device=DEVICE, dtype=DTYPE) for _ in range(LAYERS)] for _ in range(2)]
        self._token = torch.zeros(count, dtype=torch.long, device=DEVICE)
        self._at = torch.zeros(1, dtype=torch.long, device=DEVICE)
        self._score = torch.zeros(rows, beams, device=DEVICE)
        self._latest = torch.zeros(count, dtype=torch.long, device=DEVICE)
        self._steps, self._ids = torch.arange(TEXT, device=DEVICE), torch.arange(VOCABULARY, device=DEVICE)
        self._banned = (self._ids >= 1) & (self._ids < 90)
        self._base = (torch.arange(rows, device=DEVICE) * beams)[:, None]
        self.done = torch.zeros(1, dtype=torch.long, device=DEVICE)

    def hear(self, sound: Tensor) -> None:
        """Take the encoder's output in, and begin."""
        for number, layer in enumerate(self._layers):
            assert layer.cross is not None
            both = linear(sound, layer.cross[1]).view(self._rows, SOUND, 2, HEADS, WIDTH // HEADS)
            for kept, new in zip(self._sound, both.permute(2, 0, 3, 1, 4), strict=True):
                kept[number].copy_(new)
        self.begin()

    def begin(self) -> None:
        """Begin the text anew."""
        for tensor in (self._at, self._score, self._latest):
            tensor.zero_()

    def step(self) -> None:
        """One token for every beam."""
        logits = self._logits()
        allowed = log_softmax(logits.masked_fill(self._banned, -torch.inf), -1)
        certain = allowed[:, TIMESTAMPS:].logsumexp(-1) > allowed[:, :TIMESTAMPS].amax(-1)
        allowed = allowed.masked_fill(certain[:, None] & (self._ids < TIMESTAMPS), -torch.inf)
        gone = (self._ids >= TIMESTAMPS) & (self._ids < self._latest[:, None])
        self._choose(allowed.masked_fill(gone, -torch.inf))
        self._latest.copy_(torch.where(self._token >= TIMESTAMPS, self._token, self._latest))
        self.done.copy_((self._token == END).sum())
        self._at += 1

    def _logits(self) -> Tensor:
        rows, beams, count, head = self._rows, self._beams, self._rows * self._beams, WIDTH // HEADS
        x = (embedding(self._token, self._embedding) + embedding(self._at, self._positions)).view(count, 1, WIDTH)
        seen = (self._steps <= self._at).view(1, 1, 1, TEXT)
        for number, layer in enumerate(self._layers):
            query, key, value = linear(norm(x), layer.qkv).view(count, 3, HEADS, 1, head).unbind(1)
            self._keys[number].index_copy_(2, self._at, key)
            self._values[number].index_copy_(2, self._at, value)
            past = scaled_dot_product_attention(query, self._keys[number], self._values[number], attn_mask=seen)
            x = x + linear(past.view(count, 1, WIDTH), layer.out)
            assert layer.cross is not None
            query = linear(norm(x), layer.cross[0]).view(rows, beams, HEADS, head).transpose(1, 2)
            found = scaled_dot_product_attention(query, self._sound[0][number], self._sound[1][number])
            x = feed(layer, x + linear(found.transpose(1, 2).reshape(count, 1, WIDTH), layer.cross[2]))
        return linear(norm(x), self._embedding).view(count, VOCABULARY).float()

    def _choose(self, allowed: Tensor) -> None:
        if self._beams == 1:
            best, token = allowed.max(-1)
            self._score += best.view(self._rows, 1)
            self._token.copy_(token)
            return
        total = (self._score.view(-1, 1) + allowed).view(self._rows, -1)
        best, where = total.topk(self._beams, -1)
        source = (self._base + where // VOCABULARY).view(-1)
        self._score.copy_(best)
        self._token.copy_((where % VOCABULARY).view(-1))
        for cache in (*self._keys, *self._values):
            cache.copy_(cache.index_select(0, source))


def seconds(task: Callable[[], object], times: int = 3) -> float:
    """Of one run of *task* on the device, after one that isn't counted."""
    task()
    _wait()
    start = time.perf_counter()
    for _ in range(times):
        task()
    _wait()
    return (time.perf_counter() - start) / times


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    if DEVICE != "cuda":
        return step
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


def bare_loop() -> None:
    """Windows a second: the encoder, 40 steps of the decoder, and both."""
    with torch.inference_mode():
        encoder = Encoder()
        for rows, beams in SIZES:
            try:
                _measure(encoder, rows, beams)
            except RuntimeError as error:
                said = str(error).strip().splitlines() or [""]
                say(what="bare loop", batch=rows, beams=beams, error=said[0][:300])
            with suppress(RuntimeError):
                torch.cuda.empty_cache()


def _measure(encoder: Encoder, rows: int, beams: int) -> None:
    decoder, sound = Decoder(rows, beams), noise(rows, SOUND, WIDTH)
    heard = seconds(lambda: decoder.hear(sound))
    decoder.begin()
    step = _captured(decoder.step)

    def text() -> None:
        decoder.begin()
        for _ in range(STEPS):
            step()
            decoder.done.item()

    written = seconds(text)
    encoded = seconds(lambda: encoder(noise(rows, MELS, 3000)))
    say(
        what="bare loop", batch=rows, beams=beams, ms_step=round(written / STEPS * 1e3, 2),
        encoder_win_s=round(rows / encoded, 1), decoder_win_s=round(rows / (written + heard), 1),
        win_s=round(rows / (written + heard + encoded), 1),
    )  # fmt: skip
