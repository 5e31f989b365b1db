"""The diarizer on real sound: features as Kaldi has them, and the dialogue's two voices told apart."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demo import DIALOGUE, SAMPLES, SPEAKER_NETWORK
from tests import recordings_of_speakers, sound
from transcription.errors import ModelUnavailable, Stopped
from transcription.known_speakers import recognized
from transcription.media.audio import Samples
from transcription.media.recording import Recording
from transcription.settings import Settings
from transcription.spans import Span, pieces
from transcription.speakers import Diarized, Turn, label
from worker.audio.speech import detect_speech
from worker.diarizers import embedding
from worker.diarizers.base import Voices
from worker.diarizers.choice import ChosenDiarizer
from worker.diarizers.clustering import Speakers
from worker.diarizers.embedding import SPEECH, EmbeddingDiarizer
from worker.diarizers.networks.fbank import Window, fbank
from worker.diarizers.networks.nemo import log_mel
from worker.diarizers.packing import pack, unpack

KALDI = [
    [12.453, 22.359, 9.163, 6.974, 2.796, -3.685],
    [12.496, 16.599, 14.121, 7.083, 2.712, -4.841],
    [11.675, 10.284, 24.705, 7.275, 2.705, -4.627],
]
"""Of the chirp below, by kaldi-native-fbank 1.23.0: frames 0, 3 and 7, bands 0, 10, 20, 40, 60 and 79."""

HAMMING = [
    [12.729, 22.39, 12.933, 12.657, 12.064, 11.343],
    [11.432, 15.847, 13.749, 13.58, 11.379, 10.797],
    [11.804, 14.2, 24.683, 14.061, 11.616, 11.255],
]
"""The same with `--window-type=hamming`."""

NEMO = [
    [1.734, -0.063, 0.11, 1.215, 1.731, 1.745],
    [-0.51, 1.406, -1.097, -0.61, -0.65, -0.615],
    [-0.857, -0.972, 0.347, -0.61, -0.65, -0.615],
]
"""The same frames and bands as NeMo computes them, by torch.stft and torchaudio's Slaney filters."""

BANDS = [0, 10, 20, 40, 60, 79]


def chirp() -> Samples:
    at = np.arange(1600) / 16000
    tones = 0.3 * np.sin(2 * np.pi * (200 * at + 3000 * at * at)) + 0.05 * np.sin(2 * np.pi * 2500 * at)
    return tones.astype(np.float32)


@pytest.fixture(scope="module")
def diarizer() -> EmbeddingDiarizer:
    return EmbeddingDiarizer(SPEAKER_NETWORK)


@pytest.fixture(scope="module")
def dialogue() -> Recording:
    return sound.decoded(DIALOGUE.path, limit_s=100)


def test_features_are_those_of_kaldi() -> None:
    found = fbank(chirp() * 32768)
    assert found.shape == (8, 80)
    assert found[[0, 3, 7]][:, BANDS] == pytest.approx(np.array(KALDI), abs=0.05)


def test_features_with_a_hamming_window_are_those_of_kaldi() -> None:
    found = fbank(chirp() * 32768, window=Window.HAMMING)
    assert found[[0, 3, 7]][:, BANDS] == pytest.approx(np.array(HAMMING), abs=0.05)


def test_features_of_nemo_are_those_of_its_formula_in_torch() -> None:
    found = log_mel(chirp())
    assert found.shape == (80, 11)
    assert pytest.approx(np.array(NEMO), abs=1e-3) == found[BANDS][:, [0, 3, 7]].T


def test_too_short_a_sound_has_no_features() -> None:
    assert fbank(np.zeros(399, np.float32)).shape == (0, 80)


def who(turns: Sequence[Turn]) -> list[int]:
    """For each sentence of the dialogue who speaks in its middle."""
    middles = [(segment.start + segment.end) / 2 for segment in DIALOGUE.segments]
    return [next(turn.speaker for turn in turns if turn.start <= middle < turn.end) for middle in middles]


TRUTH = [0 if segment.speaker == "A" else 1 for segment in DIALOGUE.segments]


@pytest.mark.parametrize("speakers", [Speakers(), Speakers(2, 2), Speakers(1, 4)])
def test_two_voices_that_take_turns_are_told_apart(
    diarizer: EmbeddingDiarizer, dialogue: Recording, speakers: Speakers
) -> None:
    speech = detect_speech(dialogue, options=SPEECH)
    turns = diarizer.diarize(diarizer.hear(speech, dialogue), speech, speakers).turns
    assert who(turns) == TRUTH
    for turn, segment in zip(turns, DIALOGUE.segments, strict=True):
        assert (turn.start, turn.end) == pytest.approx((segment.start, segment.end), abs=0.1)


def test_spans_that_are_heard_apart_give_the_same_speakers(diarizer: EmbeddingDiarizer, dialogue: Recording) -> None:
    speech = detect_speech(dialogue, options=SPEECH)
    parts = pieces(speech, dialogue.duration_s, target_s=5)
    assert len(parts) > 2
    heard = [unpack(pack(diarizer.hear(part.speech, dialogue))) for part in parts]
    assert who(diarizer.diarize(Voices.joined(heard), speech, Speakers()).turns) == TRUTH


def test_two_who_speak_at_once_are_both_heard(diarizer: EmbeddingDiarizer, dialogue: Recording) -> None:
    first, second = (dialogue.cut(Span(DIALOGUE.segments[n].start, DIALOGUE.segments[n].end)) for n in (1, 5))
    both = np.zeros(second.size + 8000, np.float32)
    both[: first.size] += first
    both[8000:] += second
    recording = sound.recording(np.concatenate([dialogue[:], both]))
    speech = detect_speech(recording, options=SPEECH)
    turns = diarizer.diarize(diarizer.hear(speech, recording), speech, Speakers()).turns
    marked = [turn for turn in turns if turn.overlap]
    assert {turn.speaker for turn in marked} == {0, 1}
    begin, end = dialogue.duration_s + 0.5, dialogue.duration_s + first.size / 16000
    assert all(begin - 0.3 < turn.start < turn.end < end + 0.3 for turn in marked)


def test_nothing_but_silence_has_no_turns(diarizer: EmbeddingDiarizer) -> None:
    silence = sound.decoded(SAMPLES["silence"].path, limit_s=100)
    assert detect_speech(silence, options=SPEECH) == []
    assert diarizer.diarize(diarizer.hear([], silence), [], Speakers(2, 2)).turns == ()


def test_work_that_nobody_wants_stops(diarizer: EmbeddingDiarizer, dialogue: Recording) -> None:
    def unwanted() -> None:
        raise Stopped("nobody waits for this")

    with pytest.raises(Stopped):
        diarizer.hear([Span(0, 5)], dialogue, check=unwanted)


def heard_as(*voices: np.ndarray, both: Sequence[int] = ()) -> tuple[Voices, list[Span]]:
    """Eight windows of each voice, side by side, and their stretches; in those of *both* two speak at once."""
    windows = [Span(float(n), n + 1.0) for n in range(8 * len(voices))]
    over = tuple(window for n, window in enumerate(windows) if n // 8 in both)
    return Voices(tuple(windows), np.repeat(np.stack(voices), 8, axis=0), over), [Span(0, windows[-1].end)]


FIRST, SECOND, THIRD = np.eye(3, 8, dtype=np.float32)


def test_where_two_speak_at_once_nobody_new_is_heard_and_where_all_do_somebody_is(diarizer: EmbeddingDiarizer) -> None:
    voices, speech = heard_as(FIRST, SECOND, THIRD, both=[2])
    assert len(diarizer.diarize(voices, speech, Speakers()).embeddings) == 2
    voices, speech = heard_as(FIRST, both=[0])
    assert diarizer.diarize(voices, speech, Speakers()).turns


def test_voice_that_many_windows_hear_for_a_moment_is_nobody(diarizer: EmbeddingDiarizer) -> None:
    """Windows overlap: three of them in half a second each are a second and a half."""
    windows = tuple(Span(n * 0.5, n * 0.5 + 1.5) for n in range(19))
    vectors = np.stack([FIRST] * 16 + [SECOND] * 3)
    found = diarizer.diarize(Voices(windows, vectors), [Span(0, 10.5)], Speakers())
    assert len(found.embeddings) == 1


def test_windows_of_speech_overlap_and_each_has_a_part_of_its_own() -> None:
    windows = embedding._windows(Span(10, 20))
    starts = [window.heard.start for window in windows]
    assert (starts[0], windows[-1].heard.end) == (10, pytest.approx(20))
    assert np.diff(starts) == pytest.approx([0.5] * 17)
    assert [a.own.end for a in windows[:-1]] == [b.own.start for b in windows[1:]]


def test_two_at_once_are_told_by_the_window_whose_middle_is_nearest_in_steps_of_20_ms() -> None:
    window = embedding._Window(Span(10, 11.5), Span(10.5, 11))
    found = list(embedding._both(window, np.ones(75, np.float32)))
    assert len(found) == 25
    assert (found[0].start, found[-1].end) == pytest.approx((10.5, 11), abs=0.02)
    assert embedding._united(found) == [Span(found[0].start, found[-1].end)]
    assert embedding._united([Span(0, 3), Span(1, 2), Span(5, 5.1)]) == [Span(0, 3)]


def test_of_a_window_that_share_counts_in_which_two_speak_at_once() -> None:
    voices = Voices((Span(0, 2), Span(2, 6), Span(6, 8)), np.zeros((3, 8), np.float32), (Span(1, 3), Span(5, 5.5)))
    assert embedding._both_shares(voices) == pytest.approx([0.5, 0.375, 0])


def test_network_s_own_threshold_counts_where_none_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "SpeakerNetwork", lambda *_, **__: SimpleNamespace(threshold=0.2))
    voices, speech = heard_as(FIRST)
    for given, expected in ((None, 0.2), (0.4, 0.4)):
        made = EmbeddingDiarizer(SPEAKER_NETWORK, threshold=given)
        assert made.diarize(voices, speech, Speakers()).threshold == pytest.approx(0.7 * expected)


def test_threshold_that_is_set_says_who_is_one_speaker_and_who_is_recognized() -> None:
    voices, speech = heard_as(FIRST, 0.8 * FIRST + 0.6 * SECOND)
    found = {}
    for threshold in (0.1, 0.4):
        chosen = ChosenDiarizer(Settings(worker={"diarizer": "demo", "diarizer_threshold": threshold}))
        loaded = chosen.get()
        assert chosen.get() is loaded, "it was loaded twice"
        assert isinstance(loaded, EmbeddingDiarizer)
        diarized = loaded.diarize(voices, speech, Speakers())
        found[threshold] = len(diarized.embeddings)
        assert diarized.threshold == pytest.approx(0.7 * threshold)
    assert found == {0.1: 2, 0.4: 1}


def test_a_network_is_handed_no_more_than_a_batch_of_one_length(
    diarizer: EmbeddingDiarizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []

    def embed(sounds: list[Samples]) -> tuple[np.ndarray, None]:
        batches.append([sound.size for sound in sounds])
        return np.zeros((len(sounds), 4), np.float32), None

    monkeypatch.setattr(diarizer, "_embed", embed)
    recording = sound.recording(np.zeros(16_000 * 60, np.float32))
    found = diarizer.hear([Span(0, 50), Span(51, 51.2), Span(52, 52.5)], recording)
    assert found.windows[0] == Span(0, 1.5)
    assert found.windows[-2].end == pytest.approx(50)
    assert found.windows[-1] == Span(52, 52.5)
    assert max(map(len, batches)) == 32
    assert all(len(set(sizes)) == 1 for sizes in batches)


def test_what_is_no_speaker_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "voices.onnx").write_bytes(b"no network")
    with pytest.raises(ModelUnavailable, match="voices"):
        EmbeddingDiarizer(tmp_path / "voices.onnx")


def test_network_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="MURMUR_WORKER__DIARIZER"):
        ChosenDiarizer(Settings(worker={"diarizer": str(tmp_path / "none.onnx")}))


def test_toy_serves_beside_the_demo_model_only() -> None:
    assert ChosenDiarizer(Settings(model="demo")).model.startswith("speakers:demo@")
    assert ChosenDiarizer(Settings(model="base")).model == ""
    assert ChosenDiarizer(Settings(model="base", worker={"diarizer": "demo"})).name.startswith("demo@")
    assert ChosenDiarizer(Settings(model="demo", worker={"diarizer": "off"})).name == ""


def test_network_that_can_not_be_read_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.onnx").touch()

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ModelUnavailable, match=r"a\.onnx.*Permission denied.*MURMUR_WORKER__DIARIZER"):
        ChosenDiarizer(Settings(worker={"diarizer": str(tmp_path / "a.onnx")}))


def test_other_networks_and_thresholds_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.onnx").write_bytes(b"one")
    (tmp_path / "b" / "a.onnx").write_bytes(b"other")
    chosen = [{"diarizer": str(tmp_path / name)} for name in ("a.onnx", "b/a.onnx")]
    chosen.append({"diarizer": str(tmp_path / "a.onnx"), "diarizer_threshold": 0.7})
    assert len({ChosenDiarizer(Settings(worker=one)).name for one in chosen}) == 3


def alone(diarizer: EmbeddingDiarizer, part: Samples) -> Diarized:
    """A known speaker's sample, as the worker has it."""
    recording = sound.recording(part)
    speech = detect_speech(recording, options=SPEECH)
    return diarizer.diarize(diarizer.hear(speech, recording), speech, Speakers(1, 1))


@pytest.mark.parametrize("known", [("Anna", "Bob"), ("Bob", "Anna"), ("Anna",), ("Bob",)])
def test_known_voices_are_recognized_and_a_third_one_stays_a_stranger(
    diarizer: EmbeddingDiarizer, known: tuple[str, ...]
) -> None:
    recording = sound.recording(recordings_of_speakers.conversation())
    speech = detect_speech(recording, options=SPEECH)
    found = diarizer.diarize(diarizer.hear(speech, recording), speech, Speakers())
    samples = recordings_of_speakers.samples()
    names = recognized(found, [(name, alone(diarizer, samples[name])) for name in known])
    speaking = [
        next(label(turn.speaker) for turn in found.turns if turn.start <= moment < turn.end)
        for moment in recordings_of_speakers.MOMENTS
    ]
    labels = {name: label(number) for number, name in enumerate(dict.fromkeys(recordings_of_speakers.WHO))}
    truth = [name if name in known else labels[name] for name in recordings_of_speakers.WHO]
    assert [names.get(called, called) for called in speaking] == truth


NAMED = "wespeaker_en_voxceleb_resnet34_LM"


def test_network_is_found_by_its_published_name_where_the_hub_left_it(tmp_path: Path) -> None:
    settings = Settings(model="base", data_dir=tmp_path, worker={"diarizer": NAMED})
    repository = settings.model_dir / "models--csukuangfj--speaker-embedding-models"
    snapshot = repository / "snapshots" / "0743f30"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0743f30")
    (snapshot / f"{NAMED}.onnx").write_bytes(SPEAKER_NETWORK.read_bytes())
    chosen = ChosenDiarizer(settings)
    assert chosen.name.startswith(f"{NAMED}@")
    assert isinstance(chosen.get(), EmbeddingDiarizer)


def test_network_that_neither_this_disk_nor_the_hub_has_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match=f"{NAMED}.*speaker-embedding-models.*MURMUR_WORKER__DIARIZER"):
        ChosenDiarizer(Settings(data_dir=tmp_path, worker={"diarizer": NAMED}))
