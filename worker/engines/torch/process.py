"""
A model in a process of its own, as its worker sees it; `served` is the other end.

The thread that feeds a GPU needs Python every few milliseconds, and a worker's other threads, which talk with the
ledger and cut recordings, want it as well: in one process they keep the GPU waiting. And a process that ends gives back
all that it held, and leaves nothing in the way of the next model.
"""

import itertools
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from transcription.errors import ModelUnavailable, Stopped
from transcription.media.audio import Samples
from transcription.settings import Settings
from worker.engines.alignment import Alignment
from worker.engines.row import FRAMES
from worker.engines.torch.asked import Asked, Facts, Generated
from worker.engines.torch.messages import receive, send

SERVED = "worker.engines.torch.device.served"
HOP = 160
"""Samples of a frame."""


class Kept:
    """What the process keeps under ``number`` for as long as this lives."""

    def __init__(self, model: "ModelProcess") -> None:
        self.number = next(model.numbers)
        self._dropped = model.dropped

    def __del__(self) -> None:
        self._dropped.append(self.number)


class Sound(Kept):
    """
    A window's samples until they are sent; the process keeps its log-mel.

    To whoever cuts it into passes it is an array of shape (mels, frames), the last of which nobody hears.
    """

    def __init__(self, model: "ModelProcess", samples: Samples) -> None:
        """Take *samples*: mono, float32, 16 kHz; what is beyond 30 s isn't heard."""
        super().__init__(model)
        self.samples: Samples | None = samples[: FRAMES * HOP]
        self.shape = model.n_mels, (len(self.samples) + HOP) // HOP


class ModelProcess:
    """Stands where CTranslate2's model would; many threads use it at once. Encodings and sounds stay in the process."""

    def __init__(self, name: str, directory: Path, settings: Settings, **how: Any) -> None:
        """
        Start the process and load the model *name* from *directory*: see `loading.load`, which takes *how* too.

        Raises:
            ModelUnavailable: it can't be loaded there.
        """
        self.numbers = itertools.count()
        self.dropped: deque[int] = deque()
        self._asking = threading.Lock()
        self._answers: dict[int, Future[Any]] = {}
        self._stopped, self._ended = False, ""
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [sys.executable, "-m", SERVED],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        threading.Thread(target=self._hear, name="torch-answers", daemon=True).start()
        try:
            self.facts: Facts = self._ask("load", name, directory, settings, how)
            self.hf_tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except RuntimeError as error:
            self.unload_model()
            raise ModelUnavailable(f"model {name!r} in {directory} can't be loaded: {error}") from error
        except BaseException:
            self.unload_model()
            raise
        self.device, self.compute_type = self.facts.device, self.facts.compute_type
        self.n_mels, self.is_multilingual = self.facts.mels, self.facts.multilingual

    def encode(self, passes: Sequence[tuple[Sound, int]]) -> list[Kept]:
        """Encode passes, each a window's sound from a frame on."""
        encoded = [Kept(self) for _ in passes]
        asked = [
            (sound.number, sound.samples, start, encoding.number)
            for (sound, start), encoding in zip(passes, encoded, strict=True)
        ]
        self._ask("encode", asked)
        for sound, _ in passes:
            sound.samples = None
        return encoded

    def detect_language(self, encoded: Sequence[Kept]) -> list[list[tuple[str, float]]]:
        """Each row's languages, as («<|en|>», probability), the most probable first."""
        return self._ask("detect_language", _numbers(encoded))  # type: ignore[no-any-return]

    def generate(self, encoded: Sequence[Kept], asked: Sequence[Asked]) -> list[Generated]:
        """Write the text of every row."""
        return self._ask("generate", _numbers(encoded), asked)  # type: ignore[no-any-return]

    def align(
        self,
        encoded: Sequence[Kept],
        starts: Sequence[Sequence[int]],
        texts: Sequence[Sequence[int]],
        frames: Sequence[int],
    ) -> list[Alignment]:
        """When the tokens of every row were said."""
        return self._ask("align", _numbers(encoded), starts, texts, frames)  # type: ignore[no-any-return]

    def works(self) -> bool:
        """Whether the process, and the device for it, still computes."""
        try:
            return self._ask("works")  # type: ignore[no-any-return]
        except Stopped:
            return True  # nobody asks any more
        except RuntimeError:
            return False

    def figures(self) -> dict[int, dict[str, float]]:
        """How full the slots were: see `Loop.figures`."""
        return self._ask("figures")  # type: ignore[no-any-return]

    def start_of(self, prompt: Sequence[int]) -> int:
        """Where the transcript's start mark is in *prompt*."""
        return list(prompt).index(self.facts.start)

    def stop(self) -> None:
        """End the process; who waits for it gets Stopped."""
        self._stopped = True
        self._process.kill()

    def unload_model(self) -> None:
        """End the process, and wait until it has given back what it held."""
        self.stop()
        self._process.wait()
        self._connection.close()

    def _ask(self, method: str, *given: Any) -> Any:
        """
        Have the process do *method*, and wait for what comes of it.

        Raises:
            Stopped: the model was stopped.
            ModelUnavailable: it can't be loaded; RuntimeError: whatever else went wrong there.
        """
        answer: Future[Any] = Future()
        with self._asking:
            if self._ended:
                raise self._gone()
            number = next(self.numbers)
            self._answers[number] = answer
            dropped = [self.dropped.popleft() for _ in range(len(self.dropped))]
            with suppress(OSError):  # who hears that it has ended tells all that wait
                send(self._connection, (number, method, given, dropped))
        return answer.result()

    def _hear(self) -> None:
        """Hand out the answers until the process ends."""
        with suppress(Exception), self._connection.makefile("rb") as connection:  # whatever it is, it can't go on
            while True:
                number, value, error = receive(connection)
                answer = self._answers.pop(number)
                if error:
                    answer.set_exception(error)
                else:
                    answer.set_result(value)
        self._process.kill()
        self._ended = f"its process has ended with exit status {self._process.wait()}"
        with self._asking:
            left, self._answers = [*self._answers.values()], {}
        for answer in left:
            answer.set_exception(self._gone())

    def _gone(self) -> Exception:
        return Stopped("the engine was closed") if self._stopped else RuntimeError(self._ended)


def _numbers(kept: Sequence[Kept]) -> list[int]:
    return [one.number for one in kept]
