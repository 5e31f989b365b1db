"""Settings and names of earlier versions, which still work for one version and say so."""

import pytest
from typer.testing import CliRunner

from murmur.cli.ledger import keys
from transcription.formats import as_verbose_json
from transcription.ledger.records.transcripts import segment
from transcription.settings import Settings
from transcription.settings.retired import RETIRED
from transcription.transcript import Segment, Transcript


@pytest.mark.parametrize(("part", "name"), RETIRED)
def test_a_retired_variable_warns_and_the_process_starts(part: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"MURMUR_{part}__{name}".upper()
    monkeypatch.setenv(variable, "7")
    monkeypatch.setenv("MURMUR_LEASE__TTL_S", "30")
    with pytest.warns(FutureWarning, match=f"{variable} has no effect any more"):
        settings = Settings()
    assert settings.lease.ttl_s == 30
    assert not hasattr(settings, name)


def test_a_variable_that_never_was_is_still_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_LEASE__LOOKS", "7")
    with pytest.raises(ValueError, match="looks"):
        Settings()


def test_short_leases_are_reaped_and_renewed_more_often() -> None:
    assert (Settings().lease.reap_s, Settings().lease.poll_s) == (2.0, 1.0)
    quick = Settings(lease={"ttl_s": 3, "renew_s": 1}).lease  # type: ignore[arg-type]
    assert (quick.reap_s, quick.poll_s) == (0.3, 0.5)


def test_the_old_name_of_the_ledger_option_works_and_says_its_new_one() -> None:
    nowhere = "redis://127.0.0.1:1/0"
    old = CliRunner().invoke(keys.app, ["list", "--ledger-url", nowhere])
    new = CliRunner().invoke(keys.app, ["list", "--ledger", nowhere])
    assert "--ledger-url is called --ledger now" in old.stderr
    assert "called" not in new.stderr
    assert type(old.exception) is type(new.exception)
    assert str(old.exception) == str(new.exception)
    assert "can't be reached" in str(new.exception)


def test_clients_get_low_confidence_under_its_old_name_too() -> None:
    text = Transcript(
        segments=(Segment(start=0, end=1, text="a", low_confidence=True),), language="en", language_probability=1.0,
        duration=1.0, task="transcribe", model="demo", complete=True,
    )  # fmt: skip
    (shape,) = as_verbose_json(text)["segments"]
    assert shape["low_confidence"] is shape["doubtful"] is True


def test_a_segment_that_an_earlier_version_wrote_is_read() -> None:
    old = {"start": 0.0, "end": 1.0, "text": "a", "doubtful": True, "words": None, "tokens": []}
    assert segment(old).low_confidence
