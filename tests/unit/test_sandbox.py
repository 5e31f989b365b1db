"""The sandbox: a decoder that crashes, hangs or grows ends alone, and sees nothing that isn't its own."""

import os
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests import audio_files, sound
from tests.platform import eventually
from tests.processes import command
from transcription.errors import (
    CorruptAudio,
    DecoderFailed,
    MurmurationError,
    NoSamples,
    ScratchFailed,
    Stopped,
    TooLong,
)
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode
from transcription.media.codecs.probe import probe
from transcription.media.decoder import Decoder
from transcription.media.prober import Prober
from transcription.media.sandbox import Sandbox
from transcription.retry import GiveUp, History, Patience, Retry, decide
from transcription.settings import Limits, Settings

LONG_S = 4000
"""A recording whose decoding takes long enough for somebody to change their mind."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    running = Sandbox("tests.bad_codec:misbehave", memory_bytes=256 << 20)
    yield running
    running.close()


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    running = Decoder(Settings(limits=Limits(max_duration_s=60)))
    yield running
    running.close()


def run(sandbox: Sandbox, how: str, tmp_path: Path, *, silence_s: float = 20) -> Any:
    file = tmp_path / "upload"
    if not file.exists():
        file.write_bytes(b"the upload's bytes")
    with file.open("r+b") as opened:
        return sandbox.run([opened.fileno()], cpu_s=1, file_bytes=1 << 20, silence_s=silence_s, how=how)


def zygote() -> psutil.Process:
    return next(child for child in psutil.Process().children() if "tests.bad_codec:misbehave" in command(child))


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("segfault", CorruptAudio, "SIGSEGV"),
        ("abort", CorruptAudio, "SIGABRT"),
        ("eat memory", CorruptAudio, "MemoryError"),
        ("spin", CorruptAudio, "SIGXCPU"),
        ("killed", DecoderFailed, "SIGKILL"),
        ("refuse", TooLong, "longer than the limit"),
    ],
)
def test_what_a_codec_does_to_itself_ends_with_it(
    sandbox: Sandbox, tmp_path: Path, how: str, error: type[MurmurationError], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(sandbox, how, tmp_path)
    assert run(sandbox, "read", tmp_path) == "the upload's bytes"


def test_a_codec_writes_no_more_than_its_file_may_hold(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(CorruptAudio):
        run(sandbox, "fill the disk", tmp_path)
    assert (tmp_path / "upload").stat().st_size <= 1 << 20


def test_a_codec_that_crashes_leaves_no_copy_of_the_recording_in_a_core_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))  # as where somebody looks for crashes
    asked = Sandbox("tests.bad_codec:misbehave", memory_bytes=256 << 20, confined=False)  # or it couldn't be asked
    try:
        assert run(asked, "core size", tmp_path) == 0
    finally:
        asked.close()
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def test_files_that_were_looked_at_stay_open_nowhere(sandbox: Sandbox, tmp_path: Path) -> None:
    run(sandbox, "read", tmp_path)
    before, ours = zygote().num_fds(), psutil.Process().num_fds()
    for _ in range(5):
        run(sandbox, "read", tmp_path)
    eventually(lambda: zygote().num_fds() <= before)
    eventually(lambda: psutil.Process().num_fds() <= ours)


def test_a_codec_that_hangs_is_given_up_and_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    # It would hang for ten minutes: that this comes to an end at all is the point.
    with pytest.raises(DecoderFailed, match="no progress for 1 s"):
        run(sandbox, "hang", tmp_path, silence_s=1)
    eventually(lambda: not zygote().children())


def test_a_crash_counts_once_and_a_kill_is_tried_again() -> None:
    patience = Patience(max_attempts=3, platform_s=60)
    assert isinstance(decide(CorruptAudio("crashed"), History(attempt=1), patience, jitter=0), GiveUp)
    assert isinstance(decide(DecoderFailed("killed"), History(attempt=1), patience, jitter=0), Retry)


def test_a_file_that_cannot_be_read_is_the_disk_s_fault_and_not_the_recording_s(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.symlink_to("/proc/self/mem")  # reading it is an I/O error
    decoder = Decoder(Settings(data_dir=tmp_path))
    try:
        with pytest.raises(ScratchFailed, match="Input/output error"):
            decoder.decode(path, sound.empty())
    finally:
        decoder.close()


def test_calls_run_side_by_side_and_a_crash_touches_no_other(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"ours")

    def one(number: int) -> str:
        try:
            return str(run(sandbox, ("read", "segfault", "killed")[number % 3], tmp_path))
        except MurmurationError as error:
            return error.code

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(one, range(18)))
    assert said == ["ours", "corrupt_audio", "decoder_failed"] * 6


def test_a_new_process_comes_when_the_one_that_forks_was_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    assert run(sandbox, "read", tmp_path)
    zygote().kill()
    assert run(sandbox, "read", tmp_path)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows how a process was born")
def test_the_process_that_forks_is_born_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_LEDGER__URL", "redis://:a-password@127.0.0.1/0")
    before = {child.pid for child in psutil.Process().children()}
    own = Sandbox("tests.bad_codec:misbehave", memory_bytes=256 << 20)
    try:
        assert run(own, "read", tmp_path)
        (born,) = [child for child in psutil.Process().children() if child.pid not in before]
        environment = Path(f"/proc/{born.pid}/environ").read_bytes()
    finally:
        own.close()
    assert b"PYTHONPATH" in environment
    assert b"a-password" not in environment


def test_closing_ends_every_process(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    own = Sandbox("tests.bad_codec:misbehave", memory_bytes=256 << 20)
    failed: list[MurmurationError] = []

    def hang() -> None:
        try:
            run(own, "hang", tmp_path)
        except MurmurationError as error:
            failed.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    eventually(lambda: len({c.pid for c in psutil.Process().children(recursive=True)} - before) == 2)
    own.close()
    thread.join(10)
    assert [error.code for error in failed] == ["decoder_failed"]
    eventually(lambda: {c.pid for c in psutil.Process().children(recursive=True)} <= before)


@pytest.mark.parametrize(
    "audio", [audio_files.mp3(3), audio_files.wav(2, rate=44_100, channels=2), audio_files.video(seconds=2)]
)
def test_the_sandbox_gives_the_same_samples_and_the_same_judgement(
    decoder: Decoder, tmp_path: Path, audio: bytes
) -> None:
    path = tmp_path / "a"
    path.write_bytes(audio)
    recording = decoder.decode(path, sound.empty())
    assert np.array_equal(recording[:], decode(path, limit_s=60))
    prober = Prober(Settings())
    try:
        assert prober(path) == probe(path, max_duration_s=Settings().limits.max_duration_s)
    finally:
        prober.close()


def test_what_the_decoder_refuses_is_refused_through_the_sandbox(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for audio, error in ((audio_files.wav(61, rate=8000), TooLong), (audio_files.wav(0), NoSamples)):
        path.write_bytes(audio)
        with pytest.raises(error):
            decoder.decode(path, sound.empty())


REPORT: dict[str, object] = {"samples": 10, "holes": [], "warnings": [], "tracks": []}


@pytest.mark.parametrize(
    ("written", "report"),
    [
        (0, REPORT),
        (10, {**REPORT, "samples": 11}),
        (10, {**REPORT, "samples": -1}),
        (10, {**REPORT, "samples": "10"}),
        (10, {**REPORT, "holes": [[20, 5]]}),
        (10, {**REPORT, "tracks": None}),
        (10, {}),
    ],
)
def test_what_can_not_be_true_of_a_file_is_the_file_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int, report: dict[str, object]
) -> None:
    (tmp_path / "a").write_bytes(b"it has taken its decoder over")
    decoder = Decoder(Settings(data_dir=tmp_path))

    def run(descriptors: list[int], **_: Any) -> dict[str, object]:
        os.write(descriptors[1], bytes(2 * written))
        return report

    monkeypatch.setattr(decoder._sandbox, "run", run)
    with pytest.raises(CorruptAudio):
        decoder.decode(tmp_path / "a", sound.empty())


def test_a_slow_decoder_gets_on_as_long_as_samples_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"a recording")
    decoder, told = Decoder(Settings(data_dir=tmp_path)), list[str]()

    def run(descriptors: list[int], *, moving: Callable[[], bool], **_: Any) -> dict[str, object]:
        moves = []
        for samples in (5, 0, 5):
            os.write(descriptors[1], bytes(2 * samples))
            moves.append(moving())
        assert moves == [True, False, True]
        return REPORT

    monkeypatch.setattr(decoder._sandbox, "run", run)
    decoder.decode(
        tmp_path / "a", sound.empty(), progressed=lambda: told.append("moves"), check=lambda: told.append("asked")
    )
    assert told == ["asked", "moves", "asked", "asked", "moves"]


def test_a_job_that_nobody_wants_any_more_is_not_decoded_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(audio_files.wav(LONG_S, rate=8000, hertz=0))
    slow = Decoder(Settings())

    def unwanted() -> None:
        raise Stopped("nobody wants it")

    try:
        slow.start()
        decoded = sound.empty()
        with pytest.raises(Stopped):
            slow.decode(path, decoded, check=unwanted)
        assert decoded.seek(0, os.SEEK_END) < LONG_S * RATE
    finally:
        slow.close()
