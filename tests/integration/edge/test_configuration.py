"""What the edge is configured by: the API's own limits, numbers that are checked, a certificate."""

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from api.middleware.requests import _SANE_ID
from api.uploads.json_form import JsonForm
from tests.edge import (
    RENDER,
    ROOT,
    START,
    Edge,
    Names,
    Replica,
    certificate,
    edge,
    environment,
    needs_nginx,
    negotiated,
)
from tests.free_port import free_port
from tests.platform import eventually
from transcription.errors import TooLarge
from transcription.settings import Limits

pytestmark = needs_nginx


def test_limits_and_rules_are_the_ones_of_the_api(shared: Edge) -> None:
    written = (shared.run / "nginx.conf").read_text()
    assert f"client_max_body_size {JsonForm().body_limit(8 << 20)};" in written
    assert f'"~^{_SANE_ID.pattern}$" $http_x_request_id;' in written
    assert f"413 {TooLarge.code};" in written
    default = Limits().max_upload_bytes
    assert f"MAX_UPLOAD_BYTES:-{default}" in RENDER.read_text()
    assert f"MAX_UPLOAD_BYTES:-{default}" in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize("bad", [{"MURMUR_EDGE_BURST": "many"}, {"MURMUR_LIMITS__MAX_UPLOAD_BYTES": "1g; root /"}])
def test_setting_that_is_no_number_is_refused_by_its_name(
    bad: dict[str, str], tmp_path: Path, names: Names, port: int
) -> None:
    told = environment(tmp_path, listen=free_port(), names=names, port=port, settings=bad)
    ended = subprocess.run(
        ["/bin/sh", str(START), "-t"], env=told, capture_output=True, check=False, text=True, timeout=20
    )
    assert ended.returncode == 2
    assert f"{next(iter(bad))} must be a number" in ended.stderr


def test_certificate_that_is_mounted_opens_https_with_http_2(
    tmp_path: Path, names: Names, port: int, two: list[Replica]
) -> None:
    trusted = certificate(tmp_path / "tls")
    secure = free_port()
    settings = {"EDGE_HTTPS_LISTEN": f"127.0.0.1:{secure}", "MURMUR_HTTPS_PORT": str(secure)}
    with edge(tmp_path, names=names, port=port, **settings) as nginx:
        plain = httpx.post(f"{nginx.url}/v1/jobs?a=b", headers={"Host": "stt.example"})
        assert (plain.status_code, plain.headers["location"]) == (308, f"https://stt.example:{secure}/v1/jobs?a=b")
        context = ssl.create_default_context(cafile=str(trusted))
        answer = httpx.get(f"https://127.0.0.1:{secure}/echo", verify=context)
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"
        for path in ("/echo", "/metrics"):  # the API's answer, and nginx's own
            answer = httpx.get(f"https://127.0.0.1:{secure}{path}", verify=context)
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
        context.set_alpn_protocols(["h2", "http/1.1"])
        protocol = eventually(lambda: negotiated(secure, context))
        assert protocol == "h2"
