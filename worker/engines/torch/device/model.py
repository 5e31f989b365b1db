"""A Whisper model in torch that many threads use at once; the device's work is all one thread's."""

from collections.abc import Sequence
from functools import partial

import torch
from tokenizers import Tokenizer
from torch import Tensor

from transcription.errors import Stopped
from transcription.media.audio import Samples
from worker.engines.alignment import Alignment
from worker.engines.marks import marks_of
from worker.engines.torch.asked import Asked, Generated
from worker.engines.torch.device.align import Attention as TextAttention
from worker.engines.torch.device.align import aligned
from worker.engines.torch.device.attention import quickest
from worker.engines.torch.device.captured import Captured
from worker.engines.torch.device.host import sent
from worker.engines.torch.device.layout import slots_now
from worker.engines.torch.device.loop import Loop
from worker.engines.torch.device.mel import LogMel, Sound
from worker.engines.torch.device.network import Network
from worker.engines.torch.device.rules import Rules
from worker.engines.torch.device.slots import FILLED, Slots
from worker.engines.torch.device.streams import own_stream


class TorchModel:
    """Encodes, tells languages, writes and aligns; encodings stay on the device."""

    def __init__(
        self, network: Network, tokenizer: Tokenizer, *, compute_type: str, slots: int, suppressed: tuple[int, ...]
    ) -> None:
        """
        Take *network* into service.

        Args:
            slots: Windows that are written down together.
            suppressed: Ids that are never written.
        """
        self.device, self.compute_type = network.device.type, compute_type
        self.hf_tokenizer, self.n_mels = tokenizer, network.mels
        self.is_multilingual = network.vocabulary >= 51865
        self.slots = slots
        self._network = network
        self._marks = marks_of(tokenizer, network.vocabulary)
        self.start = self._marks.start
        self._rules = Rules(self._marks, suppressed, network.suppressed_first, str(network.device))
        with torch.inference_mode():
            self._attention = quickest(network, slots)
        self._attend = TextAttention(network, self._marks)
        self._encoder = Captured(lambda mel: [network.encoder(mel)], network.device)
        self._log_mel = LogMel(network.mels, network.device)
        self._languages = network.languages or tuple(
            range(self._marks.start + 1, tokenizer.token_to_id("<|translate|>") or self._marks.start + 1)
        )
        if self.device == "cuda":
            torch.cuda.current_stream().synchronize()  # the loop's stream doesn't wait for what was begun on this one
        self._loop = Loop(
            self._make_slots,
            self._encode,
            stream=partial(own_stream, network.device),
            crowd=max(FILLED[-1], slots // 4),
        )

    def sound(self, samples: Samples) -> Sound:
        """A window as it is encoded, from mono samples, float32 at 16 kHz; what is beyond 30 s isn't heard."""
        return Sound(samples, self.n_mels)

    def encode(self, sounds: Sequence[tuple[Sound, int]]) -> list[Tensor]:
        """Encode passes, each a window's sound from a frame on; shape (1, 1500, width) each."""
        return self._loop.encode(sounds)

    def detect_language(self, encoded: Sequence[Tensor]) -> list[list[tuple[str, float]]]:
        """Each row's languages, as («<|en|>», probability), the most probable first."""
        read = self._loop.call(lambda: sent(self._tell_language(torch.cat(list(encoded)))))
        names = [str(self.hf_tokenizer.id_to_token(token)) for token in self._languages]
        rows = read()[0].tolist()
        return [sorted(zip(names, row, strict=True), key=lambda pair: -pair[1]) for row in rows]

    def generate(self, encoded: Sequence[Tensor], asked: Sequence[Asked]) -> list[Generated]:
        """Write the text of every row."""
        futures = self._loop.write(encoded, asked)
        written = [future.result()() for future in futures]
        return [Generated([row.tokens], [row.score], row.no_speech) for row in written]

    def align(
        self,
        encoded: Sequence[Tensor],
        starts: Sequence[Sequence[int]],
        texts: Sequence[Sequence[int]],
        frames: Sequence[int],
    ) -> list[Alignment]:
        """When the tokens of every row were said."""
        read = self._loop.call(lambda: sent(*self._attend(encoded, starts, texts=texts, frames=frames)))
        costs, chances = read()
        return aligned(costs, chances, texts, frames, begun=len(starts[0]))

    def works(self) -> bool:
        """
        Whether the device still computes for this process: after some errors it does only for new ones.

        It is asked on its own thread and stream, where nothing is being captured meanwhile.
        """
        try:
            self._loop.call(lambda: torch.ones(1, device=self._network.device).sum().item())
        except (Stopped, torch.OutOfMemoryError):
            return True  # nobody asks any more, or it does so much that there is no room
        except RuntimeError:
            return False
        return True

    def stop(self) -> None:
        """Take no more work, and end what there is with Stopped."""
        self._loop.close()

    def figures(self) -> dict[int, dict[str, float]]:
        """How full the slots were: see `Loop.figures`."""
        return self._loop.figures()

    def _encode(self, sounds: Sequence[tuple[Sound, int]]) -> list[Tensor]:
        if new := list({id(sound): sound for sound, _ in sounds if sound.mel is None}.values()):
            self._log_mel(new)
        mels = [sound.mel_from(start) for sound, start in sounds]
        # Each has memory of its own: one that is kept doesn't keep the others'.
        return [one.clone() for one in self._encoder(torch.stack(mels))[0].split(1)]

    def _tell_language(self, sound: Tensor) -> Tensor:
        decoder = self._network.decoder
        tokens = torch.full((len(sound), 1), self._marks.start, device=sound.device)
        x = decoder.embed(tokens, torch.zeros_like(tokens))
        for layer in decoder.layers:
            _, _, value = layer.split(x, decoder.heads)  # one token attends to itself alone
            x = x + layer.out(value.flatten(2))
            assert layer.cross is not None  # noqa: S101
            x = decoder.listen(layer, x, *layer.cross.keys_values(sound, decoder.heads), self._attention.whole)
            x = layer.feed(x)
        return decoder.logits(x[:, 0])[:, list(self._languages)].softmax(-1)

    def _make_slots(self, beams: int, part: int) -> Slots:
        count = max(1, slots_now(self._network, beams, self.slots) // part)
        return Slots(self._network, self._marks, self._rules, self._attention, count=count, beams=beams)
