"""How many connections to the ledger's server a worker holds, however much it works."""

from urllib.parse import urlsplit

import psutil

from demo import SAMPLES
from tests.platform import TestPlatform, eventually


def connections(platform: TestPlatform, name: str) -> int:
    port = urlsplit(platform.redis_url).port
    process = psutil.Process(platform.pids()[name])
    return sum(one.raddr.port == port for one in process.net_connections("tcp") if one.raddr)


def test_a_worker_that_has_worked_holds_three_connections(platform: TestPlatform) -> None:
    with platform.client() as client:
        for language in ("en", None, "en"):
            job = client.submit(SAMPLES["short"].path, language=language, cache="off")
            client.wait(job.id)
        eventually(lambda: connections(platform, "w1") <= 3, within_s=20)
