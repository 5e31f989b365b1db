"""The API behind a real socket: in a thread for most tests, as a process for those that measure or kill it."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from pydantic import SecretStr

from api.app import create_app
from murmur.platform.processes import Process, Program
from tests import in_process
from tests.free_port import free_port
from tests.platform import eventually
from tests.warm import start as warm
from transcription.settings import Api, Ledger, Limits, Settings

ROOT = Path(__file__).parents[1]


def api_settings(redis_url: str, data_dir: Path, **limits: float) -> Settings:
    """Settings of an API that the machine's state doesn't disturb."""
    return Settings(
        model="demo",
        data_dir=data_dir,
        api=Api(housekeeping=False),
        ledger=Ledger(url=SecretStr(redis_url)),
        limits=Limits.model_validate({"min_free_disk_bytes": 0, "max_memory_percent": 100.0, **limits}),
    )


@contextmanager
def live_api(settings: Settings) -> Iterator[httpx.Client]:
    """Serve the API in a thread, with its real ledger, and give a client of it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(settings, probe=in_process.look(settings)),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            eventually(lambda: server.started, within_s=30)
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def api_process(settings: Settings) -> Iterator[tuple[httpx.Client, Process]]:
    """Serve the API as an operator would, by its environment; give a client and the process."""
    port = free_port()
    environment = {
        "PYTHONUNBUFFERED": "1",
        "MURMUR_MODEL": settings.model,
        "MURMUR_DATA_DIR": str(settings.data_dir),
        "MURMUR_LEDGER__URL": settings.ledger.url.get_secret_value(),
        "MURMUR_LIMITS__MIN_FREE_DISK_BYTES": "0",
        "MURMUR_LIMITS__MAX_MEMORY_PERCENT": "100",
        "MURMUR_API__HOUSEKEEPING": str(settings.api.housekeeping),
        "MURMUR_API__PORT": str(port),
    }
    process = api_of(environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            eventually(lambda: _answers(client), within_s=60, every_s=0.1)
            yield client, process
    finally:
        process.terminate()
        assert process.wait(20)


def api_of(environment: dict[str, str]) -> Process:
    """The API as a process with *environment* besides ours; what it writes is nobody's."""
    program = Program(name="api", argv=[sys.executable, "-m", "api.main"], env=environment, directory=ROOT)
    return warm.running(program, lambda *_: None)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False
