"""Webhooks: what is signed, what is sent, when it is tried again; and which addresses may be asked for at all."""

import asyncio
import base64
import json
import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from murmur.client.webhook import verify_webhook
from murmur.platform.environment import exported
from transcription.errors import InvalidOption, UrlNotAllowed, UrlUnreachable
from transcription.network.addresses import is_public
from transcription.network.guard import targets
from transcription.options import parse_options
from transcription.result_warning import ResultWarning, WarningCode
from transcription.settings import Settings
from transcription.webhook import (
    Message,
    Verdict,
    asked_pause_s,
    new_private_key,
    next_try_s,
    payload,
    public_key,
    signatures,
    signing_key,
    verdict,
)

MESSAGE = Message(
    id="msg_a_1", job_id="a", url="http://x/", status="failed", error="worker_lost", at=1_700_000_000.25, attempt=1,
    tries=1, enqueued_at=1_700_000_000.0, now=1_700_000_001.0,
)  # fmt: skip


def test_signature_is_the_one_of_the_specification_s_example() -> None:
    body = b'{"test": 2432232314}'
    found = signatures(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_specification_s_own_library_accepts_what_we_sign() -> None:
    standardwebhooks = pytest.importorskip("standardwebhooks")
    old, new = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
    body, now = payload(MESSAGE), int(time.time())
    headers = {
        "webhook-id": MESSAGE.id,
        "webhook-timestamp": str(now),
        "webhook-signature": signatures([old, new], MESSAGE.id, now, body),
    }
    for secret in (old, new):
        assert standardwebhooks.Webhook(secret).verify(body, headers) == json.loads(body)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new).verify(body.replace(b"failed", b"completed"), headers)


def test_each_secret_signs_so_that_they_can_be_rotated() -> None:
    old, new = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
    both = signatures([old, new], "m", 1, b"{}").split(" ")
    assert both == [signatures([old], "m", 1, b"{}"), signatures([new], "m", 1, b"{}")]
    assert both[0] != both[1]


# The keys and the signature of RFC 8032's first test, over what the specification has signed.
PRIVATE = "whsk_" + base64.b64encode(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
).decode()  # fmt: skip
PUBLIC = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def test_an_asymmetric_secret_signs_so_that_its_public_key_verifies_and_no_other() -> None:
    assert public_key(PRIVATE) == PUBLIC
    body, now = payload(MESSAGE), int(time.time())
    found = signatures([PRIVATE], MESSAGE.id, now, body)
    kind, _, text = found.partition(",")
    assert kind == "v1a"
    signed = f"{MESSAGE.id}.{now}.".encode() + body
    raw = base64.b64decode(PUBLIC.removeprefix("whpk_"))
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(text), signed)
    headers = {"webhook-id": MESSAGE.id, "webhook-timestamp": str(now), "webhook-signature": found}
    assert verify_webhook(body, headers, PUBLIC)
    assert not verify_webhook(body + b" ", headers, PUBLIC)
    assert not verify_webhook(body, headers, public_key(new_private_key()))
    assert not verify_webhook(body, {**headers, "webhook-signature": "v1a,AAAA v1a,*** v1a"}, PUBLIC)
    assert verify_webhook(body, {name.title(): value for name, value in headers.items()}, PUBLIC)


@pytest.mark.parametrize("off_s", [-1000, 1000])
def test_a_message_of_another_time_is_not_genuine_though_its_signature_is(off_s: int) -> None:
    body, at = payload(MESSAGE), int(time.time()) + off_s
    headers = {
        "webhook-id": MESSAGE.id,
        "webhook-timestamp": str(at),
        "webhook-signature": signatures([PRIVATE], MESSAGE.id, at, body),
    }
    assert verify_webhook(body, headers, PUBLIC, tolerance_s=2000)
    assert not verify_webhook(body, headers, PUBLIC)


def test_both_kinds_sign_side_by_side_and_the_specification_s_library_takes_the_one_that_it_knows() -> None:
    standardwebhooks = pytest.importorskip("standardwebhooks")
    secret = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    body, now = payload(MESSAGE), int(time.time())
    both = signatures([PRIVATE, secret], MESSAGE.id, now, body)
    headers = {"webhook-id": MESSAGE.id, "webhook-timestamp": str(now), "webhook-signature": both}
    assert [one.partition(",")[0] for one in both.split()] == ["v1a", "v1"]
    assert standardwebhooks.Webhook(secret).verify(body, headers) == json.loads(body)
    assert verify_webhook(body, headers, secret)
    assert verify_webhook(body, headers, PUBLIC)
    # A signature of the one kind is none of the other.
    swapped = {**headers, "webhook-signature": both.replace("v1a,", "x,").replace("v1,", "v1a,").replace("x,", "v1,")}
    assert not verify_webhook(body, swapped, secret)
    assert not verify_webhook(body, swapped, PUBLIC)


def test_a_private_key_may_bring_its_public_one_along_if_that_is_its_own() -> None:
    seed = base64.b64decode(PRIVATE.removeprefix("whsk_"))
    whole = seed + base64.b64decode(PUBLIC.removeprefix("whpk_"))
    assert public_key("whsk_" + base64.b64encode(whole).decode()) == PUBLIC
    for wrong in (whole[:-1], whole[:-1] + b"x", seed[:-1], b""):
        with pytest.raises(ValueError, match="whsk_"):
            Settings(webhook={"secrets": ["whsk_" + base64.b64encode(wrong).decode()]})
    assert Settings(webhook={"secrets": [PRIVATE]}).webhook.secrets[0].get_secret_value() == PRIVATE


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_***",
        "whsec_MfKQ9r8G*KYqrTwjUPD8ILPZIo2LaLaSw",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ],
)
def test_secret_that_can_t_sign_is_refused_at_the_start(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        signing_key(secret)
    with pytest.raises(ValidationError) as refused:
        Settings(webhook={"secrets": [secret]})
    assert not secret.removeprefix("whsec_") or secret not in str(refused.value)


def test_secrets_reach_child_processes_and_no_log() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    settings = Settings(webhook={"secrets": [secret]})
    assert json.loads(exported(settings)["MURMUR_WEBHOOK__SECRETS"]) == [secret]
    assert secret not in repr(settings)


def test_payload_is_thin_and_the_same_at_every_try() -> None:
    assert json.loads(payload(MESSAGE)) == {
        "type": "job.failed",
        "timestamp": "2023-11-14T22:13:20.250Z",
        "data": {"id": "a", "status": "failed", "error": "worker_lost"},
    }
    assert payload(replace(MESSAGE, attempt=7, tries=7, now=1_700_009_999.0)) == payload(MESSAGE)


def test_payload_of_a_result_that_lacks_something_says_what() -> None:
    hole = ResultWarning(code=WarningCode.DAMAGED, message="a hole", start=3.0, seconds=2.0)
    done = replace(MESSAGE, status="completed", error=None, warnings=(hole,))
    assert json.loads(payload(done))["data"] == {"id": "a", "status": "completed", "warnings": [hole.shape()]}


def test_only_a_2xx_is_success_and_410_is_for_good() -> None:
    found = {status: verdict(status) for status in (0, 200, 204, 299, 301, 307, 404, 410, 429, 500)}
    assert [status for status, what in found.items() if what is Verdict.DELIVERED] == [200, 204, 299]
    assert [status for status, what in found.items() if what is Verdict.GONE] == [410]


@settings(deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_waits_grow_to_a_limit_and_end_after_a_day(jitter: float) -> None:
    waits, message = [], MESSAGE
    while True:
        wait = next_try_s(message, first_s=5, longest_s=4 * 3600, give_up_s=86_400, jitter=jitter)
        if wait is None:
            break
        waits.append(wait)
        message = replace(message, tries=message.tries + 1, now=message.now + wait)
    assert waits == sorted(waits)
    assert 4 <= waits[0] <= 6
    assert max(waits) <= 1.2 * 4 * 3600
    assert 60_000 < sum(waits) <= 86_400
    assert 9 <= len(waits) <= 14


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("120", 120.0), ("0", 0.0), ("", 0.0), ("soon", 0.0), ("-5", 0.0), ("9" * 400, 999_999_999.0),
        ("Tue, 14 Nov 2023 22:23:20 GMT", 600.0), ("Tue, 14 Nov 2000 22:23:20 GMT", 0.0), ("Tue, 99 Nov 2023", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str, pause: float) -> None:
    assert asked_pause_s(header, now=1_700_000_000.0) == pause


@pytest.mark.parametrize(("asked", "wait"), [(0.0, 5.0), (3.0, 5.0), (600.0, 600.0), (1e9, 3600.0)])
def test_receiver_is_left_alone_for_as_long_as_it_asks_within_bounds(asked: float, wait: float) -> None:
    found = next_try_s(MESSAGE, first_s=5, longest_s=3600, give_up_s=86_400, jitter=0.5, asked_s=asked)
    assert found == pytest.approx(wait)
    earliest = next_try_s(MESSAGE, first_s=5, longest_s=3600, give_up_s=86_400, jitter=0.0, asked_s=600)
    assert earliest == pytest.approx(600)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
        "192.0.0.8", "192.0.0.170", "fec0::1", "3fff::1", "64:ff9b:1::1", "5f00::1", "100::1", "2001::1",
        "2002:808:808::",        "198.18.0.1", "203.0.113.9", "192.88.99.1", "::127.0.0.1", "2001:20::1", "4000::1",
    ],
)  # fmt: skip
def test_address_that_isn_t_public_is_known_in_every_disguise(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_address_is_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a", "file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://user:pw@example.com/",
        "http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/",
        "http://[::ffff:7f00:1]/", "http://169.254.169.254/latest/meta-data", "not a url", "http://exa mple/", "//x/y",
        "http://127.0.0.1.:80/", "http://xn--/", "http://1.1.1.1:99999/", "http://1.1.1.1:65536/", "http://[::1",
        "http://1.1.1.1:-1/", "http://1.1.1.1:x/", "http://a..b/", "http://.example/", "http://xn--a/",
    ],
)  # fmt: skip
def test_url_that_leads_inside_is_not_asked_for(url: str) -> None:
    with pytest.raises((UrlNotAllowed, UrlUnreachable)):
        asyncio.run(targets(url, allow_private=False))


def test_connection_goes_to_the_address_that_was_judged_under_the_name_that_was_asked_for() -> None:
    (first, *_) = asyncio.run(targets("https://localhost:8443/a?b=c", allow_private=True))
    assert first.url.host in {"127.0.0.1", "::1"}
    assert (first.url.port, first.url.raw_path) == (8443, b"/a?b=c")
    assert (first.host, first.name) == ("localhost:8443", "localhost")


def test_name_of_which_one_address_is_private_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("1.1.1.1", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]

    async def ask() -> None:
        monkeypatch.setattr("transcription.network.lookups.socket.getaddrinfo", resolve)
        await targets("http://two-faced.example/", allow_private=False)

    with pytest.raises(UrlNotAllowed, match="open internet"):
        asyncio.run(ask())


@pytest.mark.parametrize("url", ["x", "ftp://example.com/", "http://", "http://a:b@example.com/", "javascript:1"])
def test_webhook_url_must_be_one(url: str) -> None:
    with pytest.raises(InvalidOption, match="webhook_url"):
        parse_options({"webhook_url": url})


def test_receivers_that_come_back_are_not_met_by_all_at_once() -> None:
    waits = [
        next_try_s(MESSAGE, first_s=100, longest_s=3600, give_up_s=86_400, jitter=jitter, asked_s=asked)
        for asked in (0, 200)
        for jitter in (0.0, 0.5, 0.999)
    ]
    assert [round(wait or 0) for wait in waits] == [80, 100, 120, 200, 200, 240]


@pytest.mark.parametrize(("length", "good"), [(23, False), (24, True), (64, True), (65, False)])
def test_a_secret_has_24_to_64_bytes(length: int, good: bool) -> None:
    secret = "whsec_" + base64.b64encode(bytes(length)).decode()
    if good:
        assert signing_key(secret) == bytes(length)
    else:
        with pytest.raises(ValueError, match="24 to 64 bytes in base64"):
            signing_key(secret)


@pytest.mark.parametrize(("status", "what"), [(199, "failed"), (200, "delivered"), (299, "delivered"), (300, "failed")])
def test_success_begins_at_200_and_ends_before_300(status: int, what: str) -> None:
    assert verdict(status).value == what


def test_payload_is_these_bytes_with_the_time_to_the_nearest_millisecond() -> None:
    assert payload(replace(MESSAGE, at=1_700_000_000.9996)) == (
        b'{"type":"job.failed","timestamp":"2023-11-14T22:13:21.000Z",'
        b'"data":{"id":"a","status":"failed","error":"worker_lost"}}'
    )


@pytest.mark.parametrize(("age_s", "wait"), [(94.0, 5.0), (95.0, 5.0), (95.5, None)])
def test_the_last_try_is_at_the_age_at_which_no_further_one_is_made(age_s: float, wait: float | None) -> None:
    old = replace(MESSAGE, now=MESSAGE.enqueued_at + age_s)
    assert next_try_s(old, first_s=5, longest_s=3600, give_up_s=100, jitter=0.5) == wait


def test_each_wait_is_four_times_the_one_before() -> None:
    waits = [
        next_try_s(replace(MESSAGE, tries=tries), first_s=5, longest_s=1e6, give_up_s=1e7, jitter=0.5)
        for tries in (1, 2, 3)
    ]
    assert waits == [5, 20, 80]
