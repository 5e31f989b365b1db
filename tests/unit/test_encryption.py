"""Encryption at rest: what is written can't be read without the key, and what was changed isn't taken for the file."""

import base64
import io
import os
import random
import re
import secrets
from pathlib import Path

import numpy as np
import pytest

from tests import audio_files
from transcription.encryption.files import PLAIN, Broken, FileEncryption
from transcription.encryption.keys import KeyFile, open_provider
from transcription.encryption.sealed import CHUNK_BYTES, HEADER_BYTES, MAGIC, sealed_size
from transcription.encryption.stream import main, seal, unseal
from transcription.errors import BlobDamaged, StorageUnavailable
from transcription.media.codecs.decode import decode_into
from transcription.media.recording import Recording
from transcription.media.scratch import Scratch
from transcription.media.timeline import Hole, Holes
from transcription.settings.encryption import Encryption
from transcription.spans import Span
from transcription.storage.disk import DiskBlobs
from transcription.storage.verify import verify

pytestmark = pytest.mark.anyio

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 17]
STORED = CHUNK_BYTES + 16


def key_file(path: Path, *names: str) -> Path:
    """A file of new master keys; keys that are there already stay."""
    old = dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}
    lines = [f"{name} {old.get(name) or base64.b64encode(secrets.token_bytes(32)).decode()}\n" for name in names]
    path.write_text("".join(lines))
    return path


@pytest.fixture
def encryption(tmp_path: Path) -> FileEncryption:
    return FileEncryption(KeyFile(key_file(tmp_path / "keys", "k1")))


def written(encryption: FileEncryption, path: Path, data: bytes, *, pieces: int = 7000) -> Path:
    with encryption.create(path) as file:
        for at in range(0, len(data), pieces):
            file.write(data[at : at + pieces])
        file.sync()
    return path


def read(encryption: FileEncryption, path: Path) -> bytes:
    with encryption.open(path) as file:
        parts = []
        while part := file.read(10_000):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_of_any_length_is_read_as_it_was_written(encryption: FileEncryption, tmp_path: Path, size: int) -> None:
    data = secrets.token_bytes(size)
    path = written(encryption, tmp_path / "a", data)
    assert path.stat().st_size == sealed_size(size) == encryption.stored_size(size)
    assert read(encryption, path) == data
    assert size < 64 or data[:64] not in path.read_bytes()


def test_any_range_of_it_can_be_read_alone(encryption: FileEncryption, tmp_path: Path) -> None:
    data = secrets.token_bytes(3 * CHUNK_BYTES + 17)
    path = written(encryption, tmp_path / "a", data)
    generator = random.Random(1)
    with encryption.open(path) as file:
        for _ in range(200):
            at = generator.randrange(len(data) + 100)
            count = generator.choice((1, 100, CHUNK_BYTES, 2 * CHUNK_BYTES, len(data)))
            assert file.seek(at) == at
            assert file.read(count) == data[at : at + count]
        assert file.seek(0, os.SEEK_END) == len(data)


def damages(stored: bytes) -> dict[str, bytes]:
    """What somebody who holds the disk could do to a file of four chunks."""
    head, body = stored[:HEADER_BYTES], stored[HEADER_BYTES:]
    chunks = [body[at : at + STORED] for at in range(0, len(body), STORED)]
    flipped = bytearray(stored)
    flipped[HEADER_BYTES + STORED + 5] ^= 1
    other_id = bytearray(stored)
    other_id[20] ^= 1
    return {
        "a bit is changed": bytes(flipped),
        "the header is changed": bytes(other_id),
        "the last chunk is cut off": head + b"".join(chunks[:-1]),
        "the last bytes are cut off": stored[:-3],
        "all chunks are cut off": head,
        "a chunk is taken out": head + b"".join([*chunks[:1], *chunks[2:]]),
        "chunks change places": head + b"".join([chunks[1], chunks[0], *chunks[2:]]),
        "a chunk is put in twice": head + b"".join([*chunks[:2], chunks[1], *chunks[2:]]),
        "something is added": stored + bytes(100),
        "a whole chunk is added": stored + chunks[0],
    }


@pytest.mark.parametrize("damage", damages(bytes(HEADER_BYTES + 4 * STORED)))
def test_what_was_changed_is_not_taken_for_the_file(encryption: FileEncryption, tmp_path: Path, damage: str) -> None:
    path = written(encryption, tmp_path / "a", secrets.token_bytes(3 * CHUNK_BYTES + 17))
    path.write_bytes(damages(path.read_bytes())[damage])
    with pytest.raises(Broken):
        read(encryption, path)
    with pytest.raises(Broken):
        unseal(io.BytesIO(path.read_bytes()), io.BytesIO(), encryption)


@pytest.mark.parametrize("size", [0, CHUNK_BYTES])
def test_an_end_that_was_changed_is_not_taken_for_the_end_of_the_file(
    encryption: FileEncryption, tmp_path: Path, size: int
) -> None:
    """An empty file has one chunk too, which says that nothing was cut off."""
    path = written(encryption, tmp_path / "a", secrets.token_bytes(size))
    stored = bytearray(path.read_bytes())
    stored[-1] ^= 1
    path.write_bytes(stored)
    with pytest.raises(Broken):
        read(encryption, path)
    with encryption.open(path) as file, pytest.raises(Broken):
        file.read()
    with pytest.raises(Broken):
        unseal(io.BytesIO(stored), io.BytesIO(), encryption)


@pytest.mark.parametrize("kind", ["encrypted", "plain"])
def test_what_is_synced_is_whole_on_the_disk(
    encryption: FileEncryption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Both a file that one process writes, and one that another began: of each the end is written before the sync."""
    synced: list[tuple[int, int]] = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    files = encryption if kind == "encrypted" else PLAIN
    whole = written(files, tmp_path / "whole", b"sound")
    with (tmp_path / "begun").open("w+b", buffering=0) as file:
        files.begin(file)
        files.end(file, b"sound", at=0)
    begun = tmp_path / "begun"
    assert synced == [(path.stat().st_ino, path.stat().st_size) for path in (whole, begun)]
    assert [read(files, path) for path in (whole, begun)] == [b"sound"] * 2


def test_a_chunk_of_another_file_does_not_fit(encryption: FileEncryption, tmp_path: Path) -> None:
    one = written(encryption, tmp_path / "a", bytes(3 * CHUNK_BYTES)).read_bytes()
    two = written(encryption, tmp_path / "b", bytes(3 * CHUNK_BYTES)).read_bytes()
    mixed = one[:HEADER_BYTES] + two[HEADER_BYTES : HEADER_BYTES + STORED] + one[HEADER_BYTES + STORED :]
    (tmp_path / "a").write_bytes(mixed)
    with pytest.raises(Broken):
        read(encryption, tmp_path / "a")


def test_equal_files_do_not_look_alike(encryption: FileEncryption, tmp_path: Path) -> None:
    one = written(encryption, tmp_path / "a", bytes(1000)).read_bytes()
    two = written(encryption, tmp_path / "b", bytes(1000)).read_bytes()
    assert one[HEADER_BYTES:] != two[HEADER_BYTES:]


def test_a_new_master_key_takes_over_and_old_files_stay_readable_while_the_old_one_is_there(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    old = FileEncryption(KeyFile(key_file(keys, "k1")))
    first = written(old, tmp_path / "a", b"old")
    both = FileEncryption(KeyFile(key_file(keys, "k2", "k1")))
    second = written(both, tmp_path / "b", b"new")
    assert (read(both, first), read(both, second)) == (b"old", b"new")
    only = FileEncryption(KeyFile(key_file(keys, "k2")))
    assert read(only, second) == b"new"
    with pytest.raises(StorageUnavailable, match="'k1'"):
        only.open(first)
    another = FileEncryption(KeyFile(key_file(tmp_path / "others", "k2")))
    with pytest.raises(StorageUnavailable):
        another.open(second)


class Kms:
    """A provider that turns the bits around, and counts."""

    calls = 0

    def wrap(self, key: bytes) -> bytes:
        """The key, turned around."""
        Kms.calls += 1
        return bytes(255 - byte for byte in key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key again."""
        Kms.calls += 1
        return bytes(255 - byte for byte in wrapped)


def test_another_provider_of_keys_is_named_by_a_setting_and_asked_once_for_a_file(tmp_path: Path) -> None:
    Kms.calls = 0
    found = FileEncryption(open_provider(Encryption(provider=f"{__name__}:Kms")))
    path = written(found, tmp_path / "a", b"sound")
    for _ in range(5):
        assert read(found, path) == b"sound"
    assert Kms.calls == 1
    fresh = FileEncryption(open_provider(Encryption(provider=f"{__name__}:Kms")))
    assert [read(fresh, path) for _ in range(2)] == [b"sound"] * 2
    assert Kms.calls == 2


def test_keys_of_files_that_were_read_last_are_remembered_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that reads for years holds few keys, and asks a provider that may be far away seldom."""
    monkeypatch.setattr("transcription.encryption.files._REMEMBERED", 3)
    Kms.calls = 0
    encryption = FileEncryption(Kms())
    wrapped = [secrets.token_bytes(32) for _ in range(5)]
    for one in wrapped:
        encryption.unwrapped(one)
    assert len(encryption._keys) == 3
    assert Kms.calls == 5
    for one in wrapped[2:]:
        encryption.unwrapped(one)
    assert Kms.calls == 5
    encryption.unwrapped(wrapped[0])
    assert Kms.calls == 6


@pytest.mark.parametrize(
    "text", ["", "k1", "k1 AAAA", f"k1 {'A' * 22}==", "k1 !!!!", "a b c", "# k1 only a remark", f"# {'A' * 43}="]
)
def test_a_key_file_that_is_none_is_refused_by_the_setting_s_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ValueError, match="MURMUR_ENCRYPTION__KEY_FILE"):
        open_provider(Encryption(key_file=str(tmp_path / "keys")))
    for wrong in ("no.such:thing", f"{__name__}:NoSuch"):
        with pytest.raises(ValueError, match="MURMUR_ENCRYPTION__PROVIDER"):
            open_provider(Encryption(provider=wrong))


def test_a_provider_whose_wrapped_keys_have_no_room_writes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kms, "wrap", lambda _, key: key * 40)
    with pytest.raises(ValueError, match="at most"):
        FileEncryption(Kms()).sealer()


def test_a_restore_that_fails_ends_with_a_sentence_and_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stream", "open"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(MAGIC)))
    with pytest.raises(SystemExit, match="stream: the header is cut off"):
        main()


async def test_a_stored_recording_is_encrypted_verified_and_found_damaged(
    encryption: FileEncryption, tmp_path: Path
) -> None:
    data = secrets.token_bytes(5 * CHUNK_BYTES + 3)
    blobs = DiskBlobs(tmp_path / "blobs", encryption=encryption)
    for _ in range(2):  # the same again is the same
        upload = blobs.upload()
        for at in range(0, len(data), 30_000):
            await upload.write(data[at : at + 30_000])
        part = await upload.path()
        assert data[:100] not in part.read_bytes()
        sha256 = await upload.commit()
    path = blobs.fetch(sha256)
    assert [one.name for one in (tmp_path / "blobs").rglob("*") if one.is_file()] == [sha256]
    assert data[:100] not in path.read_bytes()
    blobs.check(sha256)
    path.write_bytes(path.read_bytes()[:-STORED])
    with pytest.raises(BlobDamaged):
        blobs.check(sha256)
    assert not path.exists()


async def test_plain_recordings_of_before_stay_readable_and_are_encrypted_when_they_come_again(
    encryption: FileEncryption, tmp_path: Path
) -> None:
    async def stored(blobs: DiskBlobs) -> Path:
        upload = blobs.upload()
        await upload.write(b"murmseal" * 5000)  # not even one that looks like ours
        return blobs.fetch(await upload.commit())

    path = await stored(DiskBlobs(tmp_path))
    verify(path, path.name, damaged=lambda _: None)
    plain = tmp_path / "plain"
    plain.write_bytes(b"RIFF" * 1000)
    assert read(encryption, plain) == b"RIFF" * 1000
    path = await stored(DiskBlobs(tmp_path, encryption=encryption))
    assert path.stat().st_size == encryption.stored_size(40_000)
    verify(path, path.name, damaged=lambda _: None, encryption=encryption)


@pytest.mark.parametrize("holes", [Holes(), Holes([Hole(1000, 50), Hole(90_000, 7)])])
def test_decoded_sound_is_encrypted_and_read_by_the_stretch(
    encryption: FileEncryption, tmp_path: Path, holes: Holes
) -> None:
    values = (np.arange(200_000) % 30_000).astype("<i2")
    samples = values.tobytes()
    (recording := tmp_path / "talk.wav").write_bytes(audio_files.wav_of(values[:, None], rate=16_000))
    for how, name in ((encryption, "a"), (PLAIN, "b")):
        with Scratch(tmp_path, how).draft(name, waiting=lambda: None) as draft, recording.open("rb") as source:
            target = draft.file.fileno()
            report = decode_into(source.fileno(), target, limit_s=60, target_key=how.hex_key_of(target))
            # On the disk from the first block on: what is held in memory grows with no recording.
            (on_disk,) = (path for path in tmp_path.iterdir() if os.path.samestat(path.stat(), os.fstat(target)))
            assert (samples[2000:3000] in on_disk.read_bytes()) is (how is PLAIN)
            file, size = how.so_far(draft.file)
            found = Recording.from_report(file, size // 2, report)
            assert found.size == 200_000
            assert (found[199_000:] * 32768 == values[199_000:]).all()
            draft.keep(Recording(file, size=found.size, holes=holes, gain=1.5))
    sealed, plain = Scratch(tmp_path, encryption).found("a"), Scratch(tmp_path).found("b")
    assert sealed.holes.all == plain.holes.all == holes.all
    for start, end in ((0, 1), (3.25, 9), (12, 12.5), (12, 13)):
        assert np.array_equal(sealed.cut(Span(start, end)), plain.cut(Span(start, end)))
    assert (tmp_path / "b.pcm").read_bytes()[2000:3000] not in (tmp_path / "a.pcm").read_bytes()


@pytest.mark.parametrize("size", SIZES)
def test_a_backup_is_encrypted_on_its_way_and_comes_back(encryption: FileEncryption, size: int) -> None:
    data = secrets.token_bytes(size)
    stored, back = io.BytesIO(), io.BytesIO()
    seal(io.BytesIO(data), stored, encryption)
    assert size < 64 or data[:64] not in stored.getvalue()
    unseal(io.BytesIO(stored.getvalue()), back, encryption)
    assert back.getvalue() == data
    plain = io.BytesIO()
    seal(io.BytesIO(data), plain, PLAIN)
    assert plain.getvalue() == data
    passed = io.BytesIO()
    unseal(plain := io.BytesIO(data), passed, PLAIN)
    assert passed.getvalue() == data


def test_the_codecs_read_a_file_in_one_place_which_can_decrypt() -> None:
    codecs = Path(__file__).parents[2] / "transcription/media/codecs"
    reading = re.compile(r"os\.(pread|read|lseek|fstat)\(")
    assert [path.name for path in codecs.glob("*.py") if reading.search(path.read_text())] == ["source.py"]
