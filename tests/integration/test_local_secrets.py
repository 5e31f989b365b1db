"""`murmur up` on a machine with other users: they read no file of its own, and its ledger answers them nothing."""

import stat
from collections.abc import Iterator

import psutil
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from murmur.platform.ledger_server import running_in
from tests import audio_files
from tests.platform import TestPlatform, running_platform
from tests.processes import command


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPlatform]:
    """A platform that has taken a recording; its ledger's directory was open to all before."""
    root = tmp_path_factory.mktemp("platform")
    (root / "data" / "ledger").mkdir(mode=0o755, parents=True)
    recording = root / "a.wav"
    recording.write_bytes(audio_files.wav(0.2))
    with running_platform(root / "data", workers=1, ready=False, as_users=True) as running, running.client() as client:
        client.submit(recording)
        yield running


def test_no_file_can_be_read_by_another_user(used: TestPlatform) -> None:
    root = used.settings.data_dir
    assert stat.S_IMODE((root / "ledger").stat().st_mode) == 0o700
    files = [path for path in root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".aof" or "appendonly" in path.name for path in files)
    open_to_others = [path for path in files if path.stat().st_mode & 0o077 and root / "ledger" not in path.parents]
    assert open_to_others == []


def test_the_ledger_asks_for_a_password_that_no_argument_tells(used: TestPlatform) -> None:
    port = int((used.settings.data_dir / "ledger" / "port").read_text())
    with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
        stranger.hset("murmur:keys", "forged", "x")
    url = running_in(used.settings.data_dir / "ledger")
    assert url == used.redis_url
    with Redis.from_url(url) as ours:
        assert ours.ping()
    password = url.partition("://:")[2].partition("@")[0]
    assert len(password) == 64
    argv = list(map(command, psutil.Process().children(recursive=True)))  # of other tests too
    assert any("server" in line for line in argv)
    assert not any(password in line for line in argv)
    assert password not in "".join(used.lines)
