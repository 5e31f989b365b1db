"""Settings that open or close something: what the strict profile closes, and words that are none."""

import pytest

from transcription.settings import InvalidSettings, read_settings
from transcription.settings.security import networks


def test_the_strict_profile_closes_what_the_open_internet_must_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_PROFILE", "strict")
    told = read_settings()
    security = told.security
    assert (security.require_keys, security.share_results, security.default_tier) == (True, False, "free")
    assert security.address_requests_per_minute == 600
    assert (security.metrics, security.stats, security.admin, security.docs) == ("key", "key", "key", "closed")
    assert security.audit_log == "-"
    assert security.sandbox
    assert (told.outbound.url_ingestion, told.outbound.allow_private_addresses) == (False, False)


@pytest.mark.parametrize("surface", ["METRICS", "STATS", "ADMIN", "DOCS"])
def test_a_word_that_says_nothing_opens_no_surface(monkeypatch: pytest.MonkeyPatch, surface: str) -> None:
    name = f"MURMUR_SECURITY__{surface}"
    for word in ("opened", "true", "10.0.0.0/33", "localhost", "*"):
        monkeypatch.setenv(name, word)
        with pytest.raises(InvalidSettings, match=f"^{name}: "):
            read_settings()
    for word in ("open", "key", "closed", "10.0.0.0/8, fd00::/8", "192.0.2.7"):
        monkeypatch.setenv(name, word)
        assert getattr(read_settings().security, surface.lower()) == word


def test_proxies_that_are_trusted_are_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_SECURITY__TRUSTED_PROXIES", "nginx")
    with pytest.raises(InvalidSettings, match=r"^MURMUR_SECURITY__TRUSTED_PROXIES: "):
        read_settings()
    monkeypatch.setenv("MURMUR_SECURITY__TRUSTED_PROXIES", "10.0.0.0/8,,192.0.2.7 ")
    found = [str(network) for network in networks(read_settings().security.trusted_proxies)]
    assert found == ["10.0.0.0/8", "192.0.2.7/32"]


def test_a_secret_too_short_to_sign_links_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_BLOBS__SECRET", "hush-hush-hush!")
    with pytest.raises(InvalidSettings, match=r"^MURMUR_BLOBS__SECRET: ") as refused:
        read_settings()
    assert "hush" not in str(refused.value)
    monkeypatch.setenv("MURMUR_BLOBS__SECRET", "hush-hush-hush!!")
    assert read_settings().blobs.signing_key() == "hush-hush-hush!!"


def test_at_least_one_backup_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_BACKUP__KEEP", "0")
    with pytest.raises(InvalidSettings, match=r"^MURMUR_BACKUP__KEEP: "):
        read_settings()
