"""Settings whose text stands in a file, as Docker's secrets do."""

from pathlib import Path

import pytest

from transcription.settings import InvalidSettings, read_settings

SIGNING = [f"whsec_{letter * 32}" for letter in "ab"]


def test_a_variable_may_name_a_file_that_holds_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("url", "redis://:hush@ledger:6379/0\n"), ("secrets", ",".join(SIGNING) + "\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("MURMUR_LEDGER__URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("MURMUR_WEBHOOK__SECRETS_FILE", str(tmp_path / "secrets"))
    # Compose passes an unset variable on as an empty one.
    monkeypatch.setenv("MURMUR_LEDGER__URL", "")
    told = read_settings()
    assert told.ledger.url.get_secret_value() == "redis://:hush@ledger:6379/0"
    assert [secret.get_secret_value() for secret in told.webhook.secrets] == SIGNING


def test_the_file_may_lie_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("redis://:hush@ledger:6379/0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MURMUR_LEDGER__URL_FILE", "~/url")
    assert read_settings().ledger.url.get_secret_value() == "redis://:hush@ledger:6379/0"
    monkeypatch.setenv("MURMUR_LEDGER__URL_FILE", "~nobody-at-all/url")
    with pytest.raises(InvalidSettings, match=r"MURMUR_LEDGER__URL_FILE: .*no home directory"):
        read_settings()


def test_a_setting_that_is_a_files_name_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_ENCRYPTION__KEY_FILE", str(tmp_path / "keys"))
    assert read_settings().encryption.key_file == str(tmp_path / "keys")


@pytest.mark.parametrize(
    ("content", "why"), [(None, "can't be read: No such file"), (b" \n", "is empty"), (b"\xff\xfe", "it isn't text")]
)
def test_a_file_that_can_not_be_used_is_an_error_that_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv("MURMUR_LEDGER__URL_FILE", str(tmp_path / "url"))
    with pytest.raises(InvalidSettings, match=f"MURMUR_LEDGER__URL_FILE: .*{why}"):
        read_settings()


def test_a_setting_given_in_both_ways_is_refused_and_its_text_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text("redis://:hush@a/0")
    monkeypatch.setenv("MURMUR_LEDGER__URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("MURMUR_LEDGER__URL", "redis://:other@b/0")
    with pytest.raises(InvalidSettings, match="MURMUR_LEDGER__URL is set too") as refused:
        read_settings()
    assert "hush" not in str(refused.value)
    assert "other" not in str(refused.value)
