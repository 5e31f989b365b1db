"""A model in torch in a process of its own: what it is asked and answers, what it keeps, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import demo
from tests import served_stand_in
from tests.platform import eventually
from transcription.errors import ModelUnavailable, Stopped
from transcription.settings import Settings
from worker.engines.torch import process
from worker.engines.torch.messages import receive, send
from worker.engines.torch.process import Kept, ModelProcess, Sound


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with a tokenizer."""
    return demo.export_ct2(tmp_path_factory.mktemp("model") / "demo")


def started(directory: Path, name: str = "demo") -> ModelProcess:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "SERVED", served_stand_in.__name__)
        return ModelProcess(name, directory, Settings(data_dir=directory), kept=5)


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[ModelProcess]:
    """One for tests that leave it alive."""
    made = started(directory)
    yield made
    made.unload_model()


@pytest.fixture
def own(directory: Path) -> Iterator[ModelProcess]:
    """One for a test that ends it."""
    made = started(directory)
    yield made
    made.unload_model()


def sound(model: ModelProcess, size: int, value: float = 1.0) -> Sound:
    return Sound(model, np.full(size, value, np.float32))


def generated(model: ModelProcess, encoded: list[Kept], asked: str = "") -> list[Any]:
    written = model.generate(encoded, [asked] * len(encoded))  # type: ignore[list-item]
    return [(one.scores[0], *one.sequences_ids[0]) for one in written]


def test_it_says_what_it_is(model: ModelProcess) -> None:
    assert model.facts == served_stand_in.FACTS
    assert (model.device, model.compute_type, model.n_mels, model.is_multilingual) == ("cpu", "float32", 80, True)
    assert model.hf_tokenizer.token_to_id("<|endoftext|>") == 50_257
    assert model.start_of([1, 2, 50_258, 50_259]) == 2
    assert model.works()


def test_windows_are_encoded_from_their_samples_and_again_from_what_is_kept_of_them(model: ModelProcess) -> None:
    first, second = sound(model, 1_000), sound(model, 16_000, 0.5)
    assert generated(model, model.encode([(first, 0), (second, 0)])) == [(1_000.0, 1_000, 0), (8_000.0, 16_000, 0)]
    assert (first.samples, second.samples) == (None, None), "they needn't be sent again"
    assert generated(model, model.encode([(second, 40), (first, 7)])) == [(8_000.0, 16_000, 40), (1_000.0, 1_000, 7)]


def test_a_sound_looks_like_the_features_that_are_made_of_it_and_is_30_s_at_most(model: ModelProcess) -> None:
    assert sound(model, 16_000).shape == (80, 101)
    long = sound(model, 500_000)
    assert long.shape == (80, 3001)
    assert generated(model, model.encode([(long, 0)])) == [(480_000.0, 480_000, 0)]


def test_many_callers_get_their_own_answers_though_their_sounds_are_sent_in_pieces(model: ModelProcess) -> None:
    def use(number: int) -> bool:
        size = 100_000 + number
        return generated(model, model.encode([(sound(model, size), number)])) == [(float(size), size, number)]

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(use, range(48)))


def test_what_nobody_has_any_more_is_let_go_there(own: ModelProcess) -> None:
    kept = sound(own, 100)
    encoded = own.encode([(kept, 0), (sound(own, 200), 0)])
    eventually(lambda: own.figures() == {1: {"alive": 3}})  # one of the sounds was for this call alone
    del encoded[1]
    eventually(lambda: own.figures() == {1: {"alive": 2}})
    assert generated(own, encoded) == [(100.0, 100, 0)]
    del encoded, kept
    eventually(lambda: own.figures() == {1: {"alive": 0}})


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ("memory", RuntimeError, "CUDA out of memory. Tried to allocate 20.00 MiB."),
        ("index", RuntimeError, "IndexError('row 7')"),
        ("stopped", Stopped, "closed"),
    ],
)
def test_an_error_there_is_told_to_who_asked_and_nobody_else(
    model: ModelProcess, asked: str, error: type[Exception], said: str
) -> None:
    encoded = model.encode([(sound(model, 10), 0)])
    with pytest.raises(error) as caught:
        generated(model, encoded, asked)
    assert (type(caught.value), str(caught.value)) == (error, said)
    assert generated(model, encoded) == [(10.0, 10, 0)]


def test_a_sound_whose_encoding_failed_is_encoded_when_it_is_asked_for_again(model: ModelProcess) -> None:
    one = sound(model, 10)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.encode([(one, -1)])
    assert one.samples is not None
    assert generated(model, model.encode([(one, 3)])) == [(10.0, 10, 3)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "there is no such model"),
        ("broken", "model 'broken' in {} can't be loaded: OSError('the disk is gone')"),
        ("deadly", "model 'deadly' in {} can't be loaded: its process has ended with exit status 6"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_and_leaves_no_process(directory: Path, name: str, said: str) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ModelUnavailable) as caught:
        started(directory, name)
    assert str(caught.value) == said.format(directory)
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_process_without_torch_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    hidden = directory / "hidden" / "torch.py"
    hidden.parent.mkdir(exist_ok=True)
    hidden.write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    monkeypatch.syspath_prepend(str(hidden.parent))
    with pytest.raises(ModelUnavailable, match=r"engine in torch can't be loaded: No module named 'torch' \(MURMUR_W"):
        ModelProcess("demo", directory, Settings(data_dir=directory), kept=5)


def test_who_waits_when_it_dies_is_told_and_so_is_everybody_after(own: ModelProcess) -> None:
    encoded = own.encode([(sound(own, 10), 0)])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(generated, own, encoded, "wait")
        with pytest.raises(RuntimeError, match="its process has ended with exit status 9"):
            generated(own, encoded, "die")
        with pytest.raises(RuntimeError, match="its process has ended with exit status 9"):
            waiting.result(10)
    with pytest.raises(RuntimeError, match="its process has ended with exit status 9"):
        own.encode([(sound(own, 10), 0)])
    assert not own.works()


def test_who_waits_when_it_is_stopped_is_told_and_its_process_is_gone(own: ModelProcess) -> None:
    encoded = own.encode([(sound(own, 10), 0)])
    pid = own._process.pid
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(generated, own, encoded, "wait")
        own.stop()
        with pytest.raises(Stopped):
            waiting.result(10)
    with pytest.raises(Stopped):
        own.encode([(sound(own, 10), 0)])
    assert own.works(), "nobody asks it any more"
    own.unload_model()
    assert not psutil.pid_exists(pid)


def test_an_answer_that_cannot_be_read_ends_it(own: ModelProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: Any) -> None:
        raise AttributeError("no such class")

    monkeypatch.setattr(process, "receive", unreadable)
    own.works()  # the answer after which it looks for the next one
    with pytest.raises(RuntimeError, match="exit status -9"):
        eventually(own.figures)
    assert own._process.returncode == -signal.SIGKILL


def test_signals_to_a_whole_group_are_the_workers(own: ModelProcess) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(own._process.pid, number)
    assert own.works()
    assert generated(own, own.encode([(sound(own, 10), 0)])) == [(10.0, 10, 0)]


IN_A_CALL = """
model = started(directory)
encoded = model.encode([(sound(model, 10), 0)])
threading.Thread(target=generated, args=[model, encoded, "wait"]).start()
"""
WHILE_LOADING = """
threading.Thread(target=started, args=[directory, "endless"]).start()
eventually((directory / "begun").exists)
"""


@pytest.mark.parametrize("doing", [IN_A_CALL, WHILE_LOADING], ids=["call", "load"])
def test_it_ends_with_its_worker_whatever_it_is_doing(directory: Path, doing: str) -> None:
    script = f"""
import threading
from pathlib import Path
import psutil
from tests.unit.test_torch_apart import eventually, generated, sound, started
directory = Path({str(directory)!r})
{doing}
print(psutil.Process().children()[0].pid, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        child = psutil.Process(int(worker.stdout.readline()))
        worker.kill()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_message_comes_out_as_it_went_in_with_its_arrays() -> None:
    ours, theirs = socket.socketpair()
    message = {"a": np.arange(300_000, dtype=np.float32), "b": [np.zeros(0, np.float32), None, "text"], "c": (1, 2.5)}
    with ours, theirs:
        thread = threading.Thread(target=send, args=[ours, message])
        thread.start()
        with theirs.makefile("rb") as told:
            came = receive(told)
        thread.join()
        heard = ours.makefile("rb")
        send(theirs, "after it")
        assert receive(heard) == "after it"
        theirs.sendall(b"\0\0\0\1\0")
        theirs.close()
        with heard, pytest.raises(EOFError):
            receive(heard)
    assert np.array_equal(came["a"], message["a"])
    came["a"][0] = 1.0  # an array like others, which can be written
    assert (came["b"][0].shape, came["b"][1:], came["c"]) == ((0,), [None, "text"], (1, 2.5))
