"""Engines that diarize a whole recording, held to one contract by small models with random weights."""

import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from demo import DIALOGUE, SAMPLES
from tests import sound
from transcription.errors import EngineFailed, ModelUnavailable, Stopped
from transcription.media.recording import Recording
from transcription.media.timeline import Hole
from transcription.settings import Settings
from worker.diarizers import sherpa
from worker.diarizers.base import RecordingDiarizer
from worker.diarizers.choice import ChosenDiarizer
from worker.diarizers.clustering import Speakers
from worker.diarizers.packing import pack_diarized, unpack_diarized

speaker_models = pytest.importorskip("tests.speaker_models", reason="onnx isn't installed", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, lightning's and pyannote's own
needs_sherpa = pytest.mark.skipif(not find_spec("sherpa_onnx"), reason="sherpa-onnx isn't installed: extra `sherpa`")
needs_pyannote = pytest.mark.skipif(
    not (find_spec("pyannote") and find_spec("pyannote.audio")),
    reason="pyannote.audio isn't installed: extra `pyannote`",
)


@pytest.fixture(scope="module")
def dialogue() -> Recording:
    return sound.decoded(DIALOGUE.path, limit_s=100)


@pytest.fixture(
    scope="module",
    params=[pytest.param("sherpa", marks=needs_sherpa), pytest.param("pyannote", marks=needs_pyannote)],
)
def diarizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RecordingDiarizer:
    directory = getattr(speaker_models, request.param)(tmp_path_factory.mktemp("models") / request.param)
    loaded = ChosenDiarizer(Settings(model="base", device="cpu", worker={"diarizer": f"{request.param}:{directory}"}))
    found = loaded.get()
    assert isinstance(found, RecordingDiarizer)
    assert found.name == loaded.name != ""
    return found


@pytest.mark.parametrize("speakers", [Speakers(), Speakers(2, 2), Speakers(1, 1), Speakers(2, 3), Speakers(1, 4)])
def test_turns_are_in_order_within_the_recording_and_each_speaker_has_a_voice(
    diarizer: RecordingDiarizer, dialogue: Recording, speakers: Speakers
) -> None:
    found = diarizer.diarize_recording(dialogue, speakers, check=lambda: None)
    assert found.turns
    assert list(found.turns) == sorted(found.turns)
    assert all(0 <= turn.start < turn.end <= dialogue.duration_s for turn in found.turns)
    numbers = list(dict.fromkeys(turn.speaker for turn in found.turns))
    assert numbers == list(range(len(numbers)))
    assert len(numbers) <= (speakers.most or 50)
    # A speaker who only speaks beside another has none, which is a vector of zeros.
    lengths = [round(float(np.linalg.norm(one)), 3) for one in found.embeddings]
    assert len(lengths) == len(numbers)
    assert lengths[0] == 1
    assert set(lengths) <= {0.0, 1.0}
    assert 0 < found.threshold < 2


def test_silence_has_no_speakers_and_is_no_error(diarizer: RecordingDiarizer) -> None:
    silence = sound.decoded(SAMPLES["silence"].path, limit_s=100)
    assert diarizer.diarize_recording(silence, Speakers(2, 2), check=lambda: None).turns == ()


def test_recording_of_a_moment_is_no_error(diarizer: RecordingDiarizer) -> None:
    moment = sound.recording(np.full(160, 0.1, np.float32))
    assert len(diarizer.diarize_recording(moment, Speakers(), check=lambda: None).turns) <= 1


def test_turns_stand_where_they_are_in_the_recording_s_time(diarizer: RecordingDiarizer, dialogue: Recording) -> None:
    late = sound.recording(dialogue[:], holes=[Hole(at=0, samples=160_000)])
    plain = diarizer.diarize_recording(dialogue, Speakers(1, 1), check=lambda: None)
    moved = diarizer.diarize_recording(late, Speakers(1, 1), check=lambda: None)
    assert [turn.start for turn in moved.turns] == pytest.approx([turn.start + 10 for turn in plain.turns], abs=1e-3)


def test_work_that_nobody_wants_stops(diarizer: RecordingDiarizer, dialogue: Recording) -> None:
    def unwanted() -> None:
        raise Stopped("nobody waits for this")

    with pytest.raises(Stopped):
        diarizer.diarize_recording(dialogue, Speakers(), check=unwanted)


def test_what_is_found_is_packed_and_unpacked_as_it_is(diarizer: RecordingDiarizer, dialogue: Recording) -> None:
    found = diarizer.diarize_recording(dialogue, Speakers(), check=lambda: None)
    again = unpack_diarized(pack_diarized(found))
    assert [(one.speaker, one.overlap) for one in again.turns] == [(one.speaker, one.overlap) for one in found.turns]
    assert [one.start for one in again.turns] == pytest.approx([one.start for one in found.turns], abs=1e-3)
    assert np.array(again.embeddings) == pytest.approx(np.array(found.embeddings), abs=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("sherpa", marks=pytest.mark.skipif(bool(find_spec("sherpa_onnx")), reason="it is installed")),
        pytest.param("pyannote", marks=pytest.mark.skipif(needs_pyannote.args[0] is False, reason="it is installed")),
    ],
)
def test_engine_that_is_not_installed_is_named_at_the_start(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=f"-r requirements/{model}.txt"):
        ChosenDiarizer(Settings(worker={"diarizer": f"{model}:{tmp_path}"}))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return speaker_models.sherpa(tmp_path / "models")


def load(models: Path) -> sherpa.SherpaDiarizer:
    return sherpa.SherpaDiarizer(models, name="sherpa", threads=1, threshold=0.5)


@needs_sherpa
@pytest.mark.parametrize("name", [sherpa.SEGMENTATION, sherpa.EMBEDDING])
@pytest.mark.parametrize("content", [b"", b"no network", "half"])
def test_model_that_ends_sherpa_s_process_leaves_this_one_alone(models: Path, name: str, content: bytes | str) -> None:
    whole = (models / name).read_bytes()
    (models / name).write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(ModelUnavailable, match="sherpa-onnx"):
        load(models)


@needs_sherpa
def test_model_of_another_kind_is_an_error_of_the_engine_or_the_model(models: Path, dialogue: Recording) -> None:
    (models / sherpa.SEGMENTATION).write_bytes((models / sherpa.EMBEDDING).read_bytes())
    with pytest.raises((ModelUnavailable, EngineFailed), match="sherpa-onnx"):
        load(models).diarize_recording(dialogue, Speakers())


@needs_sherpa
def test_child_that_dies_at_work_fails_the_span_and_leaves_no_process(
    models: Path, dialogue: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    diarizer, children = load(models), []
    start: Callable[..., None] = sherpa._Child.hear

    def hear(child: sherpa._Child, *args: object, **keywords: object) -> object:
        children.append(child)
        child._process.send_signal(signal.SIGKILL)
        return start(child, *args, **keywords)

    monkeypatch.setattr(sherpa._Child, "hear", hear)
    with pytest.raises(EngineFailed, match="exit status -9"):
        diarizer.diarize_recording(dialogue, Speakers())
    assert [child._process.returncode for child in children] == [-9]


def test_directory_without_models_is_named(tmp_path: Path) -> None:
    reason = "sherpa-onnx" if not find_spec("sherpa_onnx") else "no segmentation.onnx and no embedding.onnx"
    with pytest.raises(ModelUnavailable, match=reason):
        ChosenDiarizer(Settings(worker={"diarizer": f"sherpa:{tmp_path}"}))
