"""What is laid over the compose stack: a Mac, HTTPS, keys, a bucket, GPUs, a ledger of the operator's own."""

import re
from pathlib import Path

import pytest
import yaml

from tests.compose_files import ROOT, SERVICES, Missing, filled, memory, mounts, seconds, settings_of, stack


def test_a_ledger_of_the_operators_own_is_used_by_all_who_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"MURMUR_LEDGER__URL": "rediss://u:p@elsewhere:6379/0", "MURMUR_REDIS_PASSWORD": "other"}
    services = stack(environment=own)["services"]
    for name in ("api", "worker", "backup"):
        told = settings_of(services[name], monkeypatch)
        assert told.ledger.url.get_secret_value() == told.ledger.broker() == own["MURMUR_LEDGER__URL"]
    with pytest.raises(Missing, match="say where the ledger is"):
        stack("docker-compose.redis.yml")
    without = stack("docker-compose.redis.yml", environment=own | {"MURMUR_FLOWER_BROKER_URL": "rediss://f@e"})[
        "services"
    ]
    assert set(without) == set(SERVICES) - {"redis"}
    assert not any("redis" in one.get("depends_on", {}) for one in without.values())
    assert without["worker"]["depends_on"] == {"models": {"condition": "service_completed_successfully"}}
    assert without["flower"]["environment"]["CELERY_BROKER_URL"] == "rediss://f@e"
    for name in ("api", "worker", "backup", "flower"):
        assert "outside" in without[name]["networks"]
        assert (
            without[name]
            .get("environment", {})
            .get("MURMUR_LEDGER__URL", own["MURMUR_LEDGER__URL"])
            .endswith("elsewhere:6379/0")
        )


def test_a_mac_has_everything_but_the_worker_and_opens_the_ledger_to_itself_alone() -> None:
    (include,) = yaml.safe_load((ROOT / "docker-compose.macos.yml").read_text("utf-8"))["include"]
    first, *others = include["path"]
    assert first == "docker-compose.yml"
    with pytest.raises(Missing, match="MURMUR_BLOBS__SECRET"):
        stack(*others)
    services = stack(*others, environment={"MURMUR_BLOBS__SECRET": "s" * 16})["services"]
    assert set(services) == set(SERVICES) - {"worker", "models"}
    assert services["redis"]["ports"] == ["127.0.0.1:6379:6379"]
    assert set(services["redis"]["networks"]) == {"outside", "ledger"}
    assert services["api"]["environment"]["MURMUR_BLOBS__SECRET"] == "s" * 16


def test_a_mac_may_have_its_passwords_in_files() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (files,) = re.findall(r"wildcard secrets/redis_password\),((?:-f \S+ ?)+),", makefile)
    first, *others = re.findall(r"-f (\S+)", files)
    assert first == "docker-compose.yml"
    services = stack(*others, environment={"MURMUR_BLOBS__SECRET": "s" * 16})["services"]
    assert set(services) == set(SERVICES) - {"worker", "models"}
    assert services["redis"]["ports"] == ["127.0.0.1:6379:6379"]
    assert services["redis"]["secrets"] == ["redis_password", "flower_password"]
    assert services["api"]["environment"]["MURMUR_LEDGER__PASSWORD_FILE"] == "/run/secrets/redis_password"


def test_https_is_published_beside_http_with_certificates_that_can_not_be_written() -> None:
    nginx = stack("docker-compose.tls.yml")["services"]["nginx"]
    assert nginx["ports"] == ["127.0.0.1:80:8080", "127.0.0.1:443:8443"]
    assert mounts(nginx)["/etc/nginx/tls"] == "./tls:ro"
    assert "EDGE_HTTPS_LISTEN:-8443}" in (ROOT / "nginx" / "render.sh").read_text("utf-8")


def test_behind_a_balancer_there_are_two_nginx_which_nobody_outside_reaches() -> None:
    services = stack("docker-compose.tls.yml", "docker-compose.edges.yml", "docker-compose.edges-tls.yml")["services"]
    nginx, balancer = services["nginx"], services["balancer"]
    assert (nginx["scale"], nginx["networks"], nginx["environment"]["EDGE_BALANCED"]) == ("2", ["front"], "yes")
    assert "ports" not in nginx
    assert mounts(nginx)["/etc/nginx/tls"] == "./tls:ro"
    assert seconds(nginx["stop_grace_period"]) > float(nginx["environment"]["EDGE_STOP_S"])
    assert balancer["ports"] == ["127.0.0.1:80:8080", "127.0.0.1:443:8443"]
    assert set(balancer["networks"]) == {"outside", "front"}
    # It has nothing to hide and nowhere to write, and another image than nginx: so nginx' new one leaves it alone.
    assert mounts(balancer) == {"/etc/nginx/murmur": "./nginx:ro"}
    assert "environment" not in balancer
    assert balancer["image"] != nginx["image"]
    assert balancer["build"]["dockerfile_inline"] == f"FROM {nginx['image']}"
    same = ("user", "read_only", "cap_drop", "security_opt", "restart", "healthcheck", "logging", "stop_signal")
    assert {name: balancer[name] for name in same} == {name: nginx[name] for name in same}
    assert not any("balancer" in one.get("depends_on", ()) for one in services.values())
    # Who measures the edge asks what the balancer's own health check asks, by way of it.
    asked = services["edge-metrics"]["environment"]["EDGE_THROUGH"]
    assert balancer["healthcheck"]["test"][-1] == asked.replace("//balancer:", "//127.0.0.1:")
    assert set(balancer["networks"]) & set(services["edge-metrics"]["networks"])


def test_the_key_file_is_mounted_for_those_who_encrypt_and_nobody_else() -> None:
    services = stack("docker-compose.encryption.yml", environment={"MURMUR_ENCRYPTION_KEYS": "./keys"})["services"]
    assert {"api", "worker", "nginx"} <= services.keys()
    for name, service in services.items():
        mounted = "./keys:/run/murmur/keys:ro" in service.get("volumes", [])
        assert mounted is (name in {"api", "worker", "backup"}), name
        named = service.get("environment", {}).get("MURMUR_ENCRYPTION__KEY_FILE") == "/run/murmur/keys"
        assert named is mounted, name


def test_a_bucket_is_told_to_both_sides_and_never_silently_forgotten() -> None:
    with pytest.raises(Missing, match="MURMUR_BLOBS__URL"):
        stack("docker-compose.s3.yml")
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"), "given")
    bucket = {"MURMUR_BLOBS__URL": "s3://recordings/here"}
    services = stack("docker-compose.s3.yml", environment=bucket | keys)["services"]
    for name in ("api", "worker"):
        told = services[name]["environment"]
        assert told["MURMUR_BLOBS__URL"] == "s3://recordings/here"
        assert keys.items() < told.items()
        assert "MURMUR_BLOBS__ENDPOINT" in told


def test_workers_with_a_gpu_have_one_and_compute_on_it() -> None:
    services = stack("docker-compose.cuda.yml")["services"]
    worker = services["worker"]
    assert (worker["environment"]["MURMUR_DEVICE"], worker["build"]["args"]["ACCELERATOR"]) == ("cuda", "cuda")
    assert worker["image"] == services["models"]["image"] == "murmuration-worker:latest-cuda"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "1", "capabilities": ["gpu"]}
    assert memory(worker["mem_limit"]) == 12 << 30
    assert worker["environment"]["MURMUR_LEDGER__URL"] == "redis://:@redis:6379/0"


def test_workers_that_compute_in_torch_are_those_with_a_gpu_and_another_image() -> None:
    services = stack("docker-compose.cuda.yml", "docker-compose.torch.yml")["services"]
    worker = services["worker"]
    assert (worker["environment"]["MURMUR_WORKER__ENGINE"], worker["environment"]["MURMUR_DEVICE"]) == ("torch", "cuda")
    assert worker["build"]["args"]["ACCELERATOR"] == "torch"
    assert worker["image"] == services["models"]["image"] == "murmuration-worker:latest-torch"
    assert worker["deploy"]["resources"]["reservations"]["devices"]
    # What Triton has compiled is loaded as a library: elsewhere than in /tmp, where Docker lets nothing be executed.
    kept = {place.partition(":")[0]: place.partition(":")[2].split(",") for place in worker["tmpfs"]}
    assert "exec" in kept[worker["environment"]["TRITON_CACHE_DIR"]]
    assert kept["/tmp"] == ["mode=1777", "size=64m"]
    dockerfile = (ROOT / "Dockerfile.worker").read_text("utf-8").rpartition("FROM python AS worker")[2]
    assert 'if [ "$ACCELERATOR" = torch ]' in dockerfile
    assert "gcc libc6-dev" in dockerfile


def test_with_the_file_of_the_documentation_each_gpu_has_a_worker_that_sees_no_other(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    file = tmp_path / "cards.yml"
    file.write_text(page.partition("# cards.yml\n")[2].partition("```")[0], "utf-8")
    services = stack("docker-compose.cuda.yml", str(file))["services"]
    first, second = services["worker"], services["worker-1"]
    devices = [one["deploy"]["resources"]["reservations"]["devices"] for one in (first, second)]
    assert devices == [[{"driver": "nvidia", "device_ids": [n], "capabilities": ["gpu"]}] for n in ("0", "1")]
    assert "build" not in second, "it is the first one's image"
    assert second["networks"]["monitoring"] == {"aliases": ["worker"]}
    assert sorted(second["networks"]) == sorted(first["networks"])
    differing = {"deploy", "networks", "build"}
    for name in (first.keys() | second.keys()) - differing:
        assert first[name] == second[name], name
    assert first["environment"]["MURMUR_WORKER__HOST_WORKERS"] == 2


def test_variables_are_filled_in_as_compose_does() -> None:
    assert filled("${A:-x}/${B:-${A:-y}}/$$/${C}", {"A": "a"}) == "a/a/$/"
    assert filled("${A:-x}", {"A": ""}) == "x"
    with pytest.raises(Missing, match="say which"):
        filled("${A:?say which}", {})


def test_logs_go_to_the_journal_which_keeps_them_for_a_time() -> None:
    services = stack("docker-compose.journald.yml")["services"]
    assert set(services) == set(SERVICES)
    assert all(one["logging"] == {"driver": "journald", "options": {"tag": "{{.Name}}"}} for one in services.values())
