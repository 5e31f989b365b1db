"""One command brings up a deployment that survives what operators and accidents do to it."""

import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from demo import SAMPLES
from murmur.client.responses import RemoteJob
from murmur.platform import allocator
from tests.compose.stack import PASSWORD, Stack, Visitors, refusal
from tests.platform import eventually
from transcription.job import Status

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

Recordings = Callable[[str, int, int], list[Path]]
# The images of others have users of their own, which the machine that runs this may have replaced.
OURS = ("nginx", "api", "worker", "flower", "redis", "redis-cache")


def said(stack: Stack, jobs: list[RemoteJob]) -> set[str]:
    """What came of *jobs*, each of which must complete."""
    with stack.client(patience_s=60) as client:
        ended = [client.wait(job.id, seconds=300) for job in jobs]
        return {" ".join(client.result(job.id, "text").split()) for job in ended}


# As it comes up


@pytest.mark.parametrize("name", ["short", "german", "mp3", "video"])
def test_sample_is_transcribed_through_nginx(stack: Stack, name: str) -> None:
    with stack.client() as client:
        job = client.submit(SAMPLES[name].path)
    assert said(stack, [job]) == {SAMPLES[name].transcript}


def test_only_nginx_is_published(stack: Stack) -> None:
    published = {
        name for name, container in stack.inspect().items() if any(container["NetworkSettings"]["Ports"].values())
    }
    assert published == {"nginx-1"}


def test_containers_can_not_write_to_their_images_nor_gain_rights(stack: Stack) -> None:
    found = stack.inspect()
    assert len(found) >= 10
    for name, container in found.items():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert host["LogConfig"]["Config"]["max-size"] == "10m", name


@pytest.mark.parametrize("service", OURS)
def test_nothing_of_ours_runs_as_root(stack: Stack, service: str) -> None:
    assert stack.compose("exec", "-T", service, "id", "-u").strip() != "0"


def test_every_container_with_a_health_check_becomes_healthy(stack: Stack) -> None:
    def states() -> dict[str, str]:
        checked = {name: found["State"] for name, found in stack.inspect().items() if "Health" in found["State"]}
        # Grafana may be a stand-in that only listens.
        return {name: state["Health"]["Status"] for name, state in checked.items() if name != "grafana-1"}

    eventually(lambda: set(states().values()) == {"healthy"}, within_s=60, every_s=1)


def test_redis_keeps_the_ledger_and_the_cache_may_forget(stack: Stack) -> None:
    def config(service: str, name: str) -> str:
        return stack.compose("exec", "-T", service, "redis-cli", "config", "get", name).split()[-1]

    assert config("redis", "appendonly") == "yes"
    assert config("redis", "maxmemory-policy") == "noeviction"
    assert config("redis-cache", "maxmemory-policy") == "allkeys-lru"


def test_the_worker_s_allocator_keeps_its_memory(stack: Stack) -> None:
    told = stack.compose("exec", "-T", "worker", "cat", "/proc/1/environ").split("\0")
    assert {f"{name}={value}" for name, value in allocator.GLIBC.items()} <= set(told)


FROM_INSIDE = """
import json, os, socket, tempfile
from transcription.media.sandbox import Sandbox
sandbox = Sandbox("transcription.media.reach:attempts", memory_bytes=256 << 20)
with tempfile.NamedTemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as listener:
    asked = {"path": file.name, "port": listener.getsockname()[1], "process": os.getpid()}
    print(json.dumps(sandbox.run([file.fileno()], cpu_s=10, silence_s=30, **asked)))
sandbox.close()
"""


@pytest.mark.parametrize("service", ["api", "worker"])
def test_a_decoder_in_a_container_reaches_nothing(stack: Stack, service: str) -> None:
    found = json.loads(stack.compose("exec", "-T", service, "python", "-c", FROM_INSIDE))
    assert found["reached"] == []
    # Docker's own profile refuses a network namespace; the filter closes sockets by itself.
    assert {"no_new_privs", "not_dumpable", "seccomp"} <= set(found["layers"])


def test_operators_reach_flower_through_nginx_and_see_what_a_task_did(stack: Stack, recordings: Recordings) -> None:
    (path,) = recordings("short", 300, 1)
    with stack.client() as client:
        client.wait(client.submit(path).id, seconds=60)
    listed = f"{stack.url}/flower/tasks/datatable?draw=1&start=0&length=100&order[0][column]=0"
    assert httpx.get(listed).status_code == 401

    def results() -> list[str]:
        tasks = httpx.get(listed, auth=("operator", PASSWORD), timeout=10).raise_for_status().json()["data"]
        return [task["result"] for task in tasks if task["result"] not in (None, "None")]

    assert re.fullmatch(r"'\w+/0 [\d.]+ s of audio, real-time factor [\d.]+'", eventually(results, 30, every_s=1)[0])


def test_request_id_joins_the_lines_of_nginx_api_and_worker(stack: Stack, recordings: Recordings) -> None:
    request_id = f"joined-{uuid.uuid4().hex}"
    (path,) = recordings("short", 310, 1)
    sent = httpx.post(
        f"{stack.url}/v1/jobs", files={"file": path.read_bytes()}, headers={"X-Request-ID": request_id}, timeout=20
    )
    job = sent.raise_for_status().json()["id"]
    with stack.client() as client:
        client.wait(job, seconds=60)

    def lines() -> dict[str, list[dict[str, Any]]]:
        written = stack.compose("logs", "--no-log-prefix", "nginx", "api", "worker").splitlines()
        found: dict[str, list[dict[str, Any]]] = {}
        # Compose may write a terminal's codes before a line.
        for line in (json.loads(line[line.index("{") :]) for line in written if request_id in line):
            assert line["request_id"] == request_id
            found.setdefault(line["service"], []).append(line)
        return found

    told = eventually(lambda: len(found := lines()) == 3 and found, within_s=20, every_s=1)
    assert set(told) == {"nginx", "api", "worker"}
    assert any(line.get("job_id") == job for line in told["api"])
    computations = {
        line["computation"] for service in ("api", "worker") for line in told[service] if "computation" in line
    }
    assert len(computations) == 1


def test_prometheus_scrapes_every_target_and_finds_replicas_that_come(whole: Stack) -> None:
    def up() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for target in whole.prometheus("targets")["activeTargets"]:
            found.setdefault(target["labels"]["job"], []).append(target["health"])
        return found

    eventually(lambda: len(up().get("api", [])) == 2, within_s=60, every_s=1)
    eventually(lambda: {health for states in up().values() for health in states} == {"up"}, within_s=60, every_s=1)
    assert set(up()) == {"api", "ledger", "worker", "edge", "flower", "prometheus", "alertmanager"}
    whole.scale(api=3, worker=2)
    eventually(lambda: (up()["api"], up()["worker"]) == (["up"] * 3, ["up"] * 2), within_s=60, every_s=1)


# What operators do


def test_workers_are_scaled_up_and_down_under_load_and_nothing_is_lost(whole: Stack, recordings: Recordings) -> None:
    with whole.client(patience_s=60) as client:
        jobs = [client.submit(path) for path in recordings("long", 0, 10)]
        whole.scale(worker=5, api=4)
        eventually(lambda: whole.workers() == 5, within_s=90, every_s=0.5)
        jobs += [client.submit(path) for path in recordings("short", 0, 16)]
        whole.scale(worker=1, api=2)
        eventually(lambda: whole.workers() == 1, within_s=90, every_s=0.5)
    assert said(whole, jobs) == {SAMPLES["long"].transcript, SAMPLES["short"].transcript}


def test_new_api_replicas_get_requests_without_a_reload_of_nginx(whole: Stack) -> None:
    before = set(whole.containers("api"))
    whole.scale(api=4)
    added = [container for container in whole.containers("api") if container not in before]
    assert len(added) == 2

    def answered(container: str) -> int:
        text = whole.script("docker", "exec", container, "python", "-IS", "-c", COUNT)
        return int(float(text))

    def all_answer() -> bool:
        for _ in range(40):
            assert httpx.get(f"{whole.url}/v1/models", timeout=10).is_success
        return all(answered(container) > 0 for container in added)

    eventually(all_answer, within_s=40, every_s=1)


COUNT = """
import urllib.request
lines = urllib.request.urlopen("http://127.0.0.1:8000/metrics").read().decode().splitlines()
print(sum(float(line.split()[-1]) for line in lines
          if line.startswith("murmur_http_requests_total") and "/v1/models" in line))
"""


def test_api_is_rolled_without_one_failed_request(whole: Stack) -> None:
    before = set(whole.containers("api"))
    with Visitors(whole.url, SAMPLES["short"].path.read_bytes()) as visitors:
        whole.script("deploy/roll.sh", "api")
        seen = sum(visitors.answers.values())
        eventually(lambda: sum(visitors.answers.values()) > seen + 20, 60)  # visits after the last old one has gone
    assert visitors.failed() == {}
    print(f"rolled under {sum(visitors.answers.values())} requests, the slowest {visitors.slowest_s:.2f} s")
    assert len(visitors.accepted) > 20
    after = set(whole.containers("api"))
    assert len(after) == 2
    assert not after & before


def closing_nginx(stack: Stack) -> str:
    """The version of an nginx that closes connections under requests when it reads its configuration; else nothing."""
    said = stack.compose("exec", "-T", "nginx", "sh", "-c", "nginx -v 2>&1").strip()
    version = tuple(map(int, said.rpartition("/")[2].split(".")))
    return said if version < (1, 27, 4) else ""


def test_nginx_reads_its_configuration_again_without_closing_a_connection_under_a_request(whole: Stack) -> None:
    if old := closing_nginx(whole):
        pytest.skip(f"{old}: keepalive_min_timeout came with 1.27.4")
    ended, answers = threading.Event(), Counter[int]()

    def client() -> None:
        """Sends one request after the other, each on the connection that nginx has left open."""
        url = urlsplit(whole.url)
        connection = HTTPConnection(url.hostname or "", url.port, timeout=10)
        while not ended.is_set():
            try:
                connection.request("GET", "/-/edge")
                answer = connection.getresponse()
                answer.read()
                answers[answer.status] += 1
            except (OSError, HTTPException):
                answers[0] += 1
                connection.close()
            time.sleep(0.001)
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for _ in range(10):
        whole.compose("exec", "-T", "nginx", "sh", "/etc/nginx/murmur/start.sh", "apply")
    ended.set()
    for one in clients:
        one.join()
    assert sum(answers.values()) > 100
    assert set(answers) <= {200, 429}


def test_an_upgrade_fails_no_request_and_replaces_only_what_has_changed(whole: Stack) -> None:
    before = {name: set(whole.containers(name)) for name in ("nginx", "redis", "api", "worker")}
    with (
        whole.told(MURMUR_WORKER__SPAN_S="77"),
        Visitors(whole.url, SAMPLES["short"].path.read_bytes()) as visitors,
    ):
        whole.script("deploy/upgrade.sh", "--no-build")
        seen = sum(visitors.answers.values())
        eventually(lambda: sum(visitors.answers.values()) > seen + 20, 60)
    closed = {(kind, 0): 1 for kind, _ in visitors.answers} if closing_nginx(whole) else {}
    assert visitors.failed().items() <= closed.items()
    after = {name: set(whole.containers(name)) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"api", "worker"}


# What accidents do


def test_job_of_a_killed_worker_is_completed_by_another(whole: Stack, recordings: Recordings) -> None:
    whole.scale(worker=2)
    eventually(lambda: whole.workers() == 2, within_s=60, every_s=0.5)
    victim = whole.containers("worker")[0]
    with whole.client(patience_s=60) as client:
        jobs = [client.submit(path) for path in recordings("long", 100, 8)]
        eventually(lambda: client.job(jobs[0].id).status != Status.QUEUED, within_s=60)
        whole.kill(victim)
    assert said(whole, jobs) == {SAMPLES["long"].transcript}


def test_killed_api_replica_fails_no_request_but_those_it_had_in_hand(whole: Stack) -> None:
    victim = whole.containers("api")[0]
    with Visitors(whole.url, SAMPLES["short"].path.read_bytes()) as visitors:
        whole.kill(victim)
        killed = time.monotonic()
        eventually(lambda: time.monotonic() - killed > 5, within_s=10)
    # Only a POST may fail, for it is never sent twice; there was one client that sent them.
    assert set(visitors.failed()) <= {("submit", 502)}
    assert sum(visitors.failed().values()) <= 1
    assert len(visitors.accepted) > 20


def test_killed_redis_loses_no_accepted_job(whole: Stack, recordings: Recordings) -> None:
    (redis,) = whole.containers("redis")
    with whole.client(patience_s=90) as client, whole.client(patience_s=0) as hasty:
        jobs = [client.submit(path) for path in recordings("long", 200, 6)]
        # What was accepted has to be on the disk: everysec may lose the last second.
        accepted = time.monotonic()
        eventually(lambda: time.monotonic() - accepted > 1.5)
        whole.kill(redis)
        error = refusal(hasty, SAMPLES["german"].path)
        assert error is not None
        assert error.status == 503
        assert error.retry_after is not None
        whole.start(redis)
        eventually(lambda: refusal(hasty, SAMPLES["german"].path) is None, within_s=60, every_s=0.5)
    assert said(whole, jobs) == {SAMPLES["long"].transcript}


def test_nothing_is_left_over(stack: Stack) -> None:
    with stack.client() as client:
        eventually(lambda: not client.jobs(status="queued").jobs and not client.jobs(status="processing").jobs, 120)
    backlog = httpx.get(f"{stack.url}/stats", timeout=10).json()
    assert backlog["queue"]["spans"] == backlog["queue"]["running_spans"] == 0
    assert backlog["dead_letters"] == 0


def test_backup_brings_back_jobs_results_and_what_still_waited(
    whole: Stack, recordings: Recordings, tmp_path: Path
) -> None:
    with whole.client(patience_s=60) as client:
        done = client.wait(client.submit(SAMPLES["mp3"].path).id, seconds=60)
        whole.compose("stop", "worker")
        waits = client.submit(*recordings("short", 500, 1))
        whole.script("deploy/backup.sh", str(tmp_path))
        whole.compose("down", "-v")
        whole.script("deploy/restore.sh", str(tmp_path))
        eventually(whole.settled, within_s=120, every_s=1)
        assert " ".join(client.result(done.id, "text").split()) == SAMPLES["mp3"].transcript
    assert said(whole, [waits]) == {SAMPLES["short"].transcript}
