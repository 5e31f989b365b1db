"""What most of these tests stand on: one edge, two replicas behind it, and a client of it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.edge import Edge, Names, Replica, edge, replicas
from tests.free_port import free_port


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    with Names() as server:
        yield server


@pytest.fixture(scope="module")
def two(names: Names, port: int) -> Iterator[list[Replica]]:
    with replicas(2, port) as running:
        names.addresses = [replica.address for replica in running]
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, names: Names, port: int, two: list[Replica]) -> Iterator[Edge]:
    settings = {"MURMUR_LIMITS__MAX_UPLOAD_BYTES": str(8 << 20), "MURMUR_OPERATOR_PASSWORD": "open sesame"}
    told = {**settings, "EDGE_FLOWER": f"127.0.0.1:{port}", "EDGE_GRAFANA": f"127.0.0.2:{port}"}
    with edge(tmp_path_factory.mktemp("edge"), names=names, port=port, **told) as running:
        yield running


@pytest.fixture
def http(shared: Edge) -> Iterator[httpx.Client]:
    with shared.client() as client:
        yield client
