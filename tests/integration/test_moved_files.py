"""What somebody who can write to the disk moves to another's name, or puts there, isn't taken for ours."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import audio_files
from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.live_api import api_settings, live_api
from tests.memory_jobs import MemoryQueue
from tests.unit.test_encryption import key_file
from transcription.encryption.files import PLAIN, FileEncryption, file_encryption
from transcription.encryption.stream import seal, unseal
from transcription.errors import BlobMissing, ResultLost
from transcription.housekeeping.maintenance import Maintenance
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.media.codecs.decode import decode_into
from transcription.media.recording import Recording
from transcription.media.scratch import Scratch
from transcription.ports import ResultStore
from transcription.settings import Blobs, Encryption, Settings
from transcription.storage.disk import DiskBlobs
from transcription.storage.results import open_results

ONE, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def encrypted(redis_url: str, tmp_path: Path) -> Settings:
    encryption = Encryption(key_file=str(key_file(tmp_path / "keys", "k1")))
    return api_settings(redis_url, tmp_path).model_copy(update={"encryption": encryption})


@pytest.fixture(params=["disk", "bucket"])
def anywhere(request: pytest.FixtureRequest, encrypted: Settings) -> Settings:
    """The settings of a store on the disk, and of one in a bucket."""
    if request.param == "disk":
        return encrypted
    blobs = Blobs(url=request.getfixturevalue("bucket"), endpoint=request.getfixturevalue("bucket_endpoint"))
    return encrypted.model_copy(update={"blobs": blobs})


def store_of(settings: Settings) -> ResultStore:
    store = open_results(settings)
    assert store is not None
    return store


def unencrypted(settings: Settings) -> ResultStore:
    """The same store to somebody who has no key."""
    return store_of(settings.model_copy(update={"encryption": Encryption()}))


def test_a_result_is_read_under_its_own_name_only(anywhere: Settings) -> None:
    store, thief = store_of(anywhere), unencrypted(anywhere)
    store.write(ONE, b"ours")
    thief.write(OTHER, thief.read(ONE))
    assert store.read(ONE) == b"ours"
    with pytest.raises(ResultLost, match=OTHER):
        store.read(OTHER)


def test_a_result_that_is_not_encrypted_is_refused_unless_the_settings_take_it(anywhere: Settings) -> None:
    store, thief = store_of(anywhere), unencrypted(anywhere)
    thief.write(ONE, b"forged")
    with pytest.raises(ResultLost, match="ACCEPT_PLAIN"):
        store.read(ONE)
    lenient = anywhere.encryption.model_copy(update={"accept_plain": True})
    assert store_of(anywhere.model_copy(update={"encryption": lenient})).read(ONE) == b"forged"


def sealed_as_before(encryption: FileEncryption, data: bytes) -> bytes:
    """As an earlier version did it: bound to no name."""
    sealer = encryption.sealer()
    assert sealer is not None
    return sealer.feed(data) + sealer.finish()


def test_a_header_that_is_changed_to_be_bound_to_no_name_opens_nothing(encrypted: Settings) -> None:
    store, thief = store_of(encrypted), unencrypted(encrypted)
    store.write(ONE, b"ours")
    stored = bytearray(thief.read(ONE))
    assert stored[8] == 2
    stored[8] = 1
    thief.write(OTHER, bytes(stored))
    with pytest.raises(ResultLost):
        store.read(OTHER)


@pytest.fixture
def finished(encrypted: Settings) -> Iterator[tuple[LedgerClient, list[str]]]:
    """Two finished jobs, whose results are in the store."""
    client = LedgerClient(encrypted)
    with connect(encrypted.ledger) as redis:
        spans = RedisSpans(redis, encrypted)
        worker = LedgerWorker(spans)
        jobs = [client.new(letter) for letter in "ab"]
        for word in (" mine", " yours"):
            worker.work(word)
        retention = encrypted.retention.model_copy(update={"results_in_ledger_s": 0})
        at_once, store = encrypted.model_copy(update={"retention": retention}), store_of(encrypted)
        Maintenance(spans, MemoryQueue(), DiskBlobs(encrypted.blob_dir), at_once, results=store).archive(store)
        yield client, [job.id for job in jobs]


@pytest.mark.parametrize("before", [False, True], ids=["of this version", "of an earlier one"])
def test_nobody_is_given_another_s_transcript_though_its_file_lies_under_his_name(
    encrypted: Settings, finished: tuple[LedgerClient, list[str]], before: bool
) -> None:
    client, (mine, yours) = finished
    names = [client.ask(lambda jobs, job=job: jobs.get(job, tenant="default")).computation for job in (mine, yours)]
    folder = encrypted.blob_dir / "results"
    paths = [folder / name[:2] / name for name in names]
    if before:
        encryption = file_encryption(encrypted)
        for name, path in zip(names, paths, strict=True):
            path.write_bytes(sealed_as_before(encryption, store_of(encrypted).read(name)))
    with live_api(encrypted) as http:
        assert http.get(f"/v1/jobs/{yours}/result?format=text").text.strip() in ("mine", "yours")
        shutil.copyfile(*paths)
        answer = http.get(f"/v1/jobs/{yours}/result?format=text")
        assert (answer.status_code, answer.json()["code"]) == (500, "result_lost")
        assert http.get(f"/v1/jobs/{mine}/result?format=text").status_code == 200


def keep_some_sound(scratch: Scratch, encryption: FileEncryption, root: Path) -> int:
    """Decode a second into *scratch*; how many samples that is."""
    (talk := root / "talk.wav").write_bytes(audio_files.wav(1.0))
    with scratch.draft(ONE, waiting=lambda: None) as draft, talk.open("rb") as source:
        target = draft.file.fileno()
        report = decode_into(source.fileno(), target, limit_s=60, target_key=encryption.hex_key_of(target))
        file, size = encryption.so_far(draft.file)
        draft.keep(recording := Recording.from_report(file, size // 2, report))
        return recording.size


@pytest.mark.parametrize("encrypts", [True, False])
def test_decoded_sound_is_found_under_its_own_name_only(encrypted: Settings, tmp_path: Path, encrypts: bool) -> None:
    encryption = file_encryption(encrypted) if encrypts else PLAIN
    scratch = Scratch(tmp_path / "pcm", encryption)
    size = keep_some_sound(scratch, encryption, tmp_path)
    assert scratch.found(ONE).size == size
    shutil.copyfile(tmp_path / f"pcm/{ONE}.pcm", tmp_path / f"pcm/{OTHER}.pcm")
    with pytest.raises(BlobMissing):
        scratch.found(OTHER)


def test_decoded_sound_that_is_not_encrypted_is_decoded_anew(encrypted: Settings, tmp_path: Path) -> None:
    keep_some_sound(Scratch(tmp_path / "pcm"), PLAIN, tmp_path)
    assert Scratch(tmp_path / "pcm").found(ONE)
    with pytest.raises(BlobMissing):
        Scratch(tmp_path / "pcm", file_encryption(encrypted)).found(ONE)


def test_a_plain_stream_is_not_opened_where_it_should_be_encrypted(encrypted: Settings) -> None:
    files = file_encryption(encrypted)
    with pytest.raises(ValueError, match="ACCEPT_PLAIN"):
        unseal(io.BytesIO(b"forged"), out := io.BytesIO(), files)
    assert out.getvalue() == b""
    seal(io.BytesIO(b"ours"), sealed := io.BytesIO(), files)
    unseal(io.BytesIO(sealed.getvalue()), out, files)
    assert out.getvalue() == b"ours"
