"""Scratch: what many ask for is decoded once a host, and whoever dies in the middle leaves nothing in the way."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.platform import eventually
from transcription.errors import BlobMissing, Stopped
from transcription.media import scratch
from transcription.media.recording import Recording
from transcription.media.scratch import Draft, Scratch
from transcription.media.timeline import Hole, Holes
from transcription.result_warning import ResultWarning, WarningCode
from transcription.tracks import Track

SOUND = np.arange(1000, dtype="<i2")


def decode(draft: Draft) -> Recording:
    draft.file.write(SOUND.tobytes())
    return Recording(draft.file, size=SOUND.size)


def test_what_is_kept_is_found_whole_and_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    said = ResultWarning(code=WarningCode.SKIPPED, message="a part is missing", start=1.0, seconds=2.0)
    track = Track(number=1, codec="opus", channels=2, sample_rate=48_000, taken=True)
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
        draft.file.write(SOUND.tobytes())
        draft.keep(Recording(draft.file, size=1000, holes=Holes([Hole(500, 7)]), warnings=[said], tracks=[track]))
    assert [path.name for path in tmp_path.iterdir()] == ["one.pcm"]
    found = Scratch(tmp_path).found("one")
    assert (found.size, found.holes.all, found.warnings, found.tracks) == (1000, (Hole(500, 7),), (said,), (track,))
    assert np.array_equal(found[:] * 32768, SOUND)


def test_what_is_kept_is_on_the_disk_before_and_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(("synced", os.fstat(descriptor).st_ino)))
    replace = Path.replace

    def replaced(path: Path, target: Path) -> Path:
        steps.append(("named", path.stat().st_ino))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
        draft.keep(decode(draft))
    file, folder = (tmp_path / "one.pcm").stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("synced", file), ("named", file), ("synced", folder)]


@pytest.mark.parametrize("said", [0, -1, 1001, 1000.0, True, None, "1000"])
def test_a_decoder_is_not_believed_how_many_samples_there_are(said: object) -> None:
    facts: dict[str, object] = {"samples": said, "holes": [], "warnings": [], "tracks": []}
    with pytest.raises(ValueError, match="of 1000"):
        Recording.from_report(io.BytesIO(SOUND.tobytes()), 1000, facts)
    assert Recording.from_report(io.BytesIO(SOUND.tobytes()), 1000, facts | {"samples": 1000}).size == 1000


class Shared(io.BytesIO):
    """A file of two readers, the first of whom gives the other every chance to come in between."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.second = threading.Event()
        self.seeks = 0

    def seek(self, position: int, whence: int = 0, /) -> int:
        found = super().seek(position, whence)
        self.seeks += 1
        if self.seeks == 1:
            self.second.wait(0.2)
        else:
            self.second.set()
        return found


def test_threads_that_read_one_recording_get_each_its_own_stretch() -> None:
    recording = Recording(file := Shared(SOUND.tobytes()), size=SOUND.size)
    found: dict[int, list[float]] = {}

    def read(begin: int) -> None:
        found[begin] = list(recording[begin : begin + 3] * 32768)

    readers = [threading.Thread(target=read, args=(begin,)) for begin in (0, 500)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert found == {0: [0, 1, 2], 500: [500, 501, 502]}
    assert file.seeks == 2


def test_what_is_not_kept_leaves_no_file(tmp_path: Path) -> None:
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
        assert decode(draft)[999:][0] * 32768 == 999
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rest", [b"", b"pcm", bytes(5000), SOUND.tobytes()])
def test_a_file_that_is_not_whole_is_none(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "one.pcm").write_bytes(rest)
    with pytest.raises(BlobMissing):
        Scratch(tmp_path).found("one")


def test_sound_of_one_recording_is_never_taken_for_another_s(tmp_path: Path) -> None:
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
        draft.keep(decode(draft))
    (tmp_path / "one.pcm").rename(tmp_path / "two.pcm")
    with pytest.raises(BlobMissing):
        Scratch(tmp_path).found("two")


def test_a_recording_that_was_made_louder_stays_so_for_its_further_spans(tmp_path: Path) -> None:
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
        recording = decode(draft)
        recording.normalize()
        draft.keep(recording)
        louder = recording[:]
    found = Scratch(tmp_path).found("one")[:]
    assert np.array_equal(found, louder)
    assert abs(found).max() > 2 * SOUND.max() / 32768


def test_many_who_ask_for_a_recording_have_it_decoded_once(tmp_path: Path) -> None:
    decoded, found, waits = [], [], threading.Semaphore(0)

    def ask() -> None:
        own = Scratch(tmp_path)  # as other processes have it
        with own.draft("one", waiting=waits.release) as draft:
            try:
                found.append(own.found("one").size)
            except BlobMissing:
                waits.acquire(timeout=20)  # somebody else waits by now
                decoded.append(1)
                draft.keep(decode(draft))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(decoded), found) == (1, [1000] * 7)


def test_one_who_waits_can_be_told_to_stop(tmp_path: Path) -> None:
    def stop() -> None:
        raise Stopped("nobody wants it")

    with (
        Scratch(tmp_path).draft("one", waiting=lambda: None),
        pytest.raises(Stopped),
        Scratch(tmp_path).draft("one", waiting=stop),
    ):
        pass


def test_a_process_that_is_killed_in_the_middle_is_in_nobody_s_way(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from transcription.media.scratch import Scratch
with Scratch(Path(sys.argv[1])).draft("one", waiting=lambda: None) as draft:
    draft.file.write(b"half" * 5000)  # more than the next one writes
    print("there", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.kill()
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
        draft.keep(decode(draft))
    assert Scratch(tmp_path).found("one").size == 1000


def test_nobody_waits_for_ever_for_one_who_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "SILENCE_S", 0.1)
    monkeypatch.setattr(scratch, "POLL_INTERVAL_S", 0.01)
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as still:
        decode(still)
        with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
            draft.keep(decode(draft))
        assert Scratch(tmp_path).found("one").size == 1000
    eventually(lambda: [path.name for path in tmp_path.iterdir()] == ["one.pcm"])


def test_a_disk_without_locks_serves_each_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_can_lock", lambda _: False)
    with Scratch(tmp_path).draft("one", waiting=lambda: None) as draft:
        draft.keep(decode(draft))
    assert Scratch(tmp_path).found("one").size == 1000
