"""Windows that are being written down together: static tensors of one size, and one step of all of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from worker.engines.marks import Marks
from worker.engines.torch.asked import Asked
from worker.engines.torch.device.attention import Attention
from worker.engines.torch.device.captured import Captured, filled, pinned
from worker.engines.torch.device.network import TEXT_POSITIONS, Network
from worker.engines.torch.device.rules import Rules
from worker.engines.torch.device.sdpa import attend

LENGTHS = (64, 128, 256, TEXT_POSITIONS)
"""Sizes of what a step looks back on: it reads as much as the longest row needs."""

FILLED = (1, 2, 4, 8)
"""Windows that are put into slots, or moved, at once."""


class Written(NamedTuple):
    """A window's text, the logarithm of its probability divided by its tokens, and the chance that nobody speaks."""

    tokens: list[int]
    score: float
    no_speech: float


class _Candidates(NamedTuple):
    """What beams may go on with, the best first, shape (rows, 2 × beams): scores, the beams they continue, tokens."""

    total: Tensor
    source: Tensor
    token: Tensor

    def at(self, rank: Tensor) -> "_Candidates":
        """Those of *rank*, shape (rows, n)."""
        return _Candidates(*(each.gather(1, rank) for each in self))


class Slots:
    """
    So many windows of so many beams each. What beams have in common they share: the sound's keys and values are a
    window's, and every beam looks back on the caches of all of its window's beams, but heeds only its own ancestors.
    So a beam that is continued by another is a number in a table, and no cache is ever copied.
    """

    def __init__(self, network: Network, marks: Marks, rules: Rules, attention: Attention, *, count: int, beams: int):
        """Take memory for *count* windows."""
        self.count, self.beams = count, beams
        self._network, self._marks, self._rules, self._attention = network, marks, rules, attention
        decoder, device, dtype = network.decoder, network.device, network.dtype
        heads, head = decoder.heads, network.width // decoder.heads

        def cache(*shape: int) -> list[Tensor]:
            return [torch.zeros(count, *shape, device=device, dtype=dtype) for _ in decoder.layers]

        def numbers(*shape: int, kind: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(count, *shape, device=device, dtype=kind)

        self.sound_keys, self.sound_values = cache(heads, 1500, head), cache(heads, 1500, head)
        self.keys, self.values = cache(TEXT_POSITIONS, beams, heads, head), cache(TEXT_POSITIONS, beams, heads, head)
        self.prompt = numbers(TEXT_POSITIONS)
        self.meta = numbers(6)
        self.position, self.length, self.limit, self.width, self.timed, self.start = self.meta.unbind(1)
        self.temperature = numbers(kind=torch.float32)
        self.token = numbers(beams)
        self.ancestors = numbers(beams, TEXT_POSITIONS)
        self.history = numbers(beams, TEXT_POSITIONS)
        self.score = numbers(beams, kind=torch.float32)
        self.last, self.before = numbers(beams, kind=torch.bool), numbers(beams, kind=torch.bool)
        self.latest = numbers(beams)
        self.found = numbers()
        self.done = torch.ones(count, device=device, dtype=torch.bool)
        self.best_tokens = numbers(TEXT_POSITIONS)
        self.figures = numbers(3, kind=torch.float32)
        """Of each row: how many of its best tokens count, their score, and the chance that nobody speaks."""
        self.best_length, self.best_score, self.no_speech = self.figures.unbind(1)
        self._of_rows = (
            *self.sound_keys, *self.sound_values, *self.keys, *self.values, self.prompt, self.meta, self.temperature,
            self.token, self.ancestors, self.history, self.score, self.last, self.before, self.latest, self.found,
            self.done, self.best_tokens, self.figures,
        )  # fmt: skip
        self._fill, self._move = Captured(self._filled, device), Captured(self._moved, device)
        self._beam = torch.arange(beams, device=device)
        self._rank = torch.arange(2 * beams, device=device)
        self._steps = torch.arange(TEXT_POSITIONS, device=device)
        self._row = torch.arange(count, device=device)

    def place(self, numbers: list[int], sounds: list[Tensor], asked: list[Asked]) -> None:
        """Put windows, whose encoded *sounds* have shape (1, 1500, width), into the slots *numbers*."""
        device = self.done.device
        while len(numbers) > (most := filled(FILLED, len(numbers))):
            self.place(numbers[:most], sounds[:most], asked[:most])
            numbers, sounds, asked = numbers[most:], sounds[most:], asked[most:]
        meta = [[a.begins, len(a.prompt), a.limit, a.width, a.timed, a.start] for a in asked]
        prompts = [[*a.prompt, *[0] * (TEXT_POSITIONS - len(a.prompt))] for a in asked]
        self._fill(
            pinned(numbers, torch.int64, device=device),
            torch.cat(sounds),
            pinned(meta, torch.int64, device=device),
            pinned(prompts, torch.int64, device=device),
            pinned([a.temperature for a in asked], torch.float32, device=device),
        )
        for number, a in zip(numbers, asked, strict=True):
            if a.begins:
                slot = pinned([number], torch.int64, device=device).to(device, non_blocking=True)
                self._read_prompt(slot, self.prompt[slot, : len(a.prompt) - 1], a)

    def _filled(self, where: Tensor, sound: Tensor, meta: Tensor, prompts: Tensor, temperature: Tensor) -> list[Tensor]:
        self.meta[where] = meta
        self.prompt[where] = prompts
        self.temperature[where] = temperature
        self.token[where] = prompts.gather(1, meta[:, :1]).expand(-1, self.beams)
        # Filled by index: an assigned number is a tensor on the host, which no graph can copy from.
        self.ancestors.index_fill_(0, where, 0)
        # In the first step all beams are one: the others come to life as its continuations. Draws live from the start.
        alive = (self._beam < meta[:, 3:4]) & ((self._beam == 0) | (temperature > 0)[:, None])
        self.score[where] = torch.where(alive, 0.0, -torch.inf)
        for tensor in (self.last, self.before, self.latest, self.found, self.best_length, self.no_speech, self.done):
            tensor.index_fill_(0, where, 0)
        self.best_score.index_fill_(0, where, -torch.inf)
        for number, layer in enumerate(self._network.decoder.layers):
            assert layer.cross is not None  # noqa: S101
            keys, values = layer.cross.keys_values(sound, self._network.decoder.heads)
            self.sound_keys[number][where] = keys
            self.sound_values[number][where] = values
        return []

    def _read_prompt(self, where: Tensor, tokens: Tensor, asked: Asked) -> None:
        """Read a long prompt at once; its last token is left to the first step. Short ones are read step by step."""
        decoder = self._network.decoder
        count = tokens.shape[1]
        x = decoder.embed(tokens, self._steps[:count])
        for number, layer in enumerate(decoder.layers):
            query, key, value = layer.split(x, decoder.heads)
            self.keys[number][where, :count, 0] = key
            self.values[number][where, :count, 0] = value
            query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
            found = attend(query, key, value, causal=True)
            x = x + layer.out(found.transpose(1, 2).flatten(2))
            x = decoder.listen(
                layer, x, self.sound_keys[number][where], self.sound_values[number][where], self._attention.whole
            )
            x = layer.feed(x)
        silence = decoder.logits(x[:, asked.start]).softmax(-1)[:, self._marks.no_speech]
        self.no_speech[where] = silence

    def step(self, rows: int, length: int, *, drawing: bool) -> None:
        """
        Take the first *rows* slots one token further.

        Args:
            rows: Slots to look at; those that are done are computed and left as they are.
            length: One of LENGTHS, more than any of their positions.
            drawing: Whether any of them has a temperature.
        """
        logits = self._decode(rows, length)
        position, prompt_length = self.position[:rows], self.length[:rows]
        at_start = position == self.start[:rows]
        silence = logits.view(rows, self.beams, -1)[:, 0].softmax(-1)[:, self._marks.no_speech]
        self.no_speech[:rows] = torch.where(at_start, silence, self.no_speech[:rows])
        number = position - prompt_length + 1  # of tokens written before this one
        self._rules.apply(
            logits,
            first=self._each(number == 0),
            timed=self._each(self.timed[:rows] > 0),
            last=self.last[:rows].flatten(),
            before=self.before[:rows].flatten(),
            latest=self.latest[:rows].flatten(),
        )
        self._choose(logits.view(rows, self.beams, -1), number, rows, drawing=drawing)

    def _each(self, values: Tensor) -> Tensor:
        return values[:, None].expand(-1, self.beams).flatten()

    def _decode(self, rows: int, length: int) -> Tensor:
        network, decoder = self._network, self._network.decoder
        position, row = self.position[:rows], self._row[:rows]
        self.ancestors[row, :, position] = self._beam
        own = self.ancestors[:rows, :, :length, None] == self._beam
        seen = (self._steps[:length] <= position[:, None])[:, None, :, None]
        # (rows, 1, beams, steps × beams): which of a window's cached tokens are a beam's own past.
        heeded = torch.zeros((), device=row.device, dtype=network.dtype).masked_fill(~(own & seen), -torch.inf)
        heeded = heeded.flatten(2)[:, None]
        flat = row * TEXT_POSITIONS + position
        x = decoder.embed(self.token[:rows], position[:, None])
        for number, layer in enumerate(decoder.layers):
            query, key, value = layer.split(x, decoder.heads)
            for cache, new in ((self.keys[number], key), (self.values[number], value)):
                cache.view(-1, *cache.shape[2:]).index_copy_(0, flat, new)
            keys = self.keys[number][:rows, :length].flatten(1, 2).transpose(1, 2)
            values = self.values[number][:rows, :length].flatten(1, 2).transpose(1, 2)
            found = self._attention.past(query.transpose(1, 2), keys, values, heeded)
            x = x + layer.out(found.transpose(1, 2).reshape(x.shape))
            sound_keys, sound_values = self.sound_keys[number][:rows], self.sound_values[number][:rows]
            x = decoder.listen(layer, x, sound_keys, sound_values, self._attention.whole)
            x = layer.feed(x)
        return decoder.logits(x.flatten(0, 1))

    def _choose(self, logits: Tensor, number: Tensor, rows: int, *, drawing: bool) -> None:
        """Choose every beam's next token: it continues its own text, or takes another beam's place."""
        count, end = self.beams, self._marks.end
        norm = logits.logsumexp(-1)
        score = self.score[:rows]
        # Of a beam that is cut off, nothing may remain that compares as a number.
        base = torch.where(torch.isfinite(norm), score - norm, -torch.inf)
        best, ids = logits.topk(2 * count, -1)
        total, where = (best + base[:, :, None]).flatten(1).topk(2 * count, -1)
        found = _Candidates(total, where // (2 * count), ids.flatten(1).gather(1, where))
        width, limit = self.width[:rows, None], self.limit[:rows]
        is_last = (number + 1 == limit)[:, None]
        if drawing:
            found = self._draw(logits, base, found, rows)
        ends = (found.token == end) & (self._rank < width)
        finished = (ends | is_last)[:, :count] & (self._beam < width) & (found.total[:, :count] > -torch.inf)
        writing = (number >= 0) & ~self.done[:rows]
        self._keep(found, finished & writing[:, None], number, rows)
        self.found[:rows] += (finished & writing[:, None]).sum(1)
        enough = (self.found[:rows] >= width[:, 0]) | is_last[:, 0]
        self.done[:rows] |= writing & enough
        self._advance(found, ends, number, rows)

    def _draw(self, logits: Tensor, base: Tensor, searched: _Candidates, rows: int) -> _Candidates:
        """For rows with a temperature, one token drawn for each beam instead of what was searched."""
        temperature = self.temperature[:rows, None]
        noise = torch.empty_like(logits).exponential_().clamp_(min=1e-30)
        warm = torch.where(temperature > 0, temperature, 1.0)[:, :, None]
        token = (logits / warm - noise.log_()).argmax(-1)
        total = logits.gather(-1, token[:, :, None])[:, :, 0] + base
        drawn = (
            torch.cat([total, torch.full_like(total, -torch.inf)], 1),
            torch.cat([self._beam, self._beam]).expand(rows, -1),
            token.repeat(1, 2),
        )
        return _Candidates(*(torch.where(temperature > 0, new, old) for new, old in zip(drawn, searched, strict=True)))

    def _keep(self, found: _Candidates, finished: Tensor, number: Tensor, rows: int) -> None:
        """Keep the best of the texts that are finished now, if it is better than those before."""
        count = self.beams
        total, source, token = found
        ended = token[:, :count] == self._marks.end
        length = number[:, None] + (~ended).long()
        each = torch.where(finished & (length > 0), total[:, :count] / length.clamp(min=1), -torch.inf)
        score, rank = each.max(-1)
        rank = rank[:, None]
        tokens = self.history[:rows].gather(1, source.gather(1, rank)[:, :, None].expand(-1, -1, TEXT_POSITIONS))[:, 0]
        tokens = torch.where(self._steps == number[:, None], token.gather(1, rank), tokens)
        better = score > self.best_score[:rows]
        self.best_score[:rows] = torch.where(better, score, self.best_score[:rows])
        self.best_length[:rows] = torch.where(better, length.gather(1, rank)[:, 0], self.best_length[:rows])
        self.best_tokens[:rows] = torch.where(better[:, None], tokens, self.best_tokens[:rows])

    def _advance(self, found: _Candidates, ends: Tensor, number: Tensor, rows: int) -> None:
        """Give every beam its next token. In the place of one that ended comes the next best that goes on."""
        count = self.beams
        width = self.width[:rows, None]
        spare = (self._rank >= width) & (self._rank < 2 * width) & (found.token != self._marks.end)
        nth = ends[:, :count].cumsum(1)
        chosen = (spare.cumsum(1)[:, None] == nth[:, :, None]) & spare[:, None]
        rank = torch.where(ends[:, :count] & chosen.any(-1), chosen.to(torch.uint8).argmax(-1), self._beam)
        total, source, token = found.at(rank)
        ended = (token == self._marks.end) | (self._beam >= width)
        total = torch.where(ended, -torch.inf, total)

        position = self.position[:rows]
        following = self.prompt[:rows].gather(1, (position + 1).clamp(max=TEXT_POSITIONS - 1)[:, None])
        reading = (number < 0)[:, None]
        source = torch.where(reading, self._beam, source)
        token = torch.where(reading, following, token)
        self.score[:rows] = torch.where(reading, self.score[:rows], total)
        table = source[:, :, None].expand(-1, -1, TEXT_POSITIONS)
        self.ancestors[:rows] = self.ancestors[:rows].gather(1, table)
        history = self.history[:rows].gather(1, table)
        self.history[:rows] = torch.where(self._steps == number[:, None, None], token[:, :, None], history)
        is_time = (token >= self._marks.timestamps) & ~reading
        last = self.last[:rows].gather(1, source)
        self.before[:rows] = torch.where((number == 0)[:, None], is_time, last)
        self.last[:rows] = is_time
        self.latest[:rows] = torch.where(is_time, token, self.latest[:rows].gather(1, source))
        self.token[:rows] = token
        self.position[:rows] = (position + 1).clamp(max=TEXT_POSITIONS - 1)

    def move(self, sources: list[int], targets: list[int]) -> None:
        """Take rows to other slots, all of which are free."""
        while sources:
            most = filled(FILLED, len(sources))
            self._move(*(pinned(each[:most], torch.int64, device=self.done.device) for each in (sources, targets)))
            sources, targets = sources[most:], targets[most:]

    def _moved(self, source: Tensor, target: Tensor) -> list[Tensor]:
        for tensor in self._of_rows:
            tensor.index_copy_(0, target, tensor.index_select(0, source))
        self.done.index_fill_(0, source, 1)
        return []
