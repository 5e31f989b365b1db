"""The API as a program: `python -m api.main`, or `uvicorn --factory api.main:create` for one process of it."""

import gc
import socket
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import structlog
import uvicorn

from api import garbage, processes
from api.server import Protocol, Server
from transcription.observability import logs
from transcription.observability.cores import available
from transcription.settings import InvalidSettings, Settings, read_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

_ONE_OF_SEVERAL, _GRANIAN = "--listener", "--granian"
_GRANIAN_AT_ONCE = 65_536
"""Requests in progress in one process: those that wait for a job are many, and cost little."""


def create() -> "FastAPI":
    """The application by the environment's settings, with its logs set up."""
    settings = _settings()
    _configure_logs(settings, background=True)
    # Nothing that comes into being here is garbage: looking for it would take a tenth of the start. The application is
    # imported here because the parent of several processes, which serves nobody, has no need of it.
    gc.disable()
    try:
        from api.app import create_app  # noqa: PLC0415

        app = create_app(settings)
    finally:
        gc.enable()
    garbage.keep_pauses_short()
    return app


def _configure_logs(settings: Settings, *, background: bool) -> None:
    logs.configure(level=settings.log_level, style=settings.log_format, service="api", background=background)


def _settings() -> Settings:
    """The environment's settings; what is wrong with them ends the process with a sentence, not a traceback."""
    try:
        return read_settings()
    except InvalidSettings as error:
        raise SystemExit(f"settings: {error}") from None


def main() -> None:
    """Serve until told to stop: alone, as one of several processes, or as the one that starts them."""
    if sys.argv[1:2] == [_ONE_OF_SEVERAL]:
        listener, life = map(int, sys.argv[2:4])
        processes.end_with_parent(life)
        _serve(_settings(), socket.socket(fileno=listener))
        return
    settings = _settings()
    count = settings.api.processes or available()
    if settings.api.server == "granian":
        if sys.argv[1:2] != [_GRANIAN]:
            processes.begin_again_with_shared_figures([sys.executable, "-m", "api.main", _GRANIAN])
        _serve_with_granian(settings, count)
    elif count == 1:
        _serve(settings, None)
    else:
        sys.exit(_serve_together(settings, count))


def _serve(settings: Settings, listener: socket.socket | None) -> None:
    api = settings.api
    config = uvicorn.Config(
        "api.main:create",
        factory=True,
        host=api.host,
        port=api.port,
        log_config=None,
        access_log=False,
        http=Protocol,
        proxy_headers=False,  # MURMUR_SECURITY__TRUSTED_PROXIES says whom to believe
        server_header=False,
        timeout_graceful_shutdown=api.stop_s,
    )
    listener = listener or config.bind_socket()
    # Imported before the wait, so that little is left to do after it; here, because the parent of several never waits.
    config.load()
    from api import takeover  # noqa: PLC0415

    takeover.wait_for_turn(settings, listener)
    Server(config).run(sockets=[listener])


def _serve_with_granian(settings: Settings, count: int) -> None:
    """Granian forks, watches and stops its processes itself. It is an extra: imported only where it is asked for."""
    try:
        granian = import_module("granian")
    except ImportError:
        raise SystemExit(
            "MURMUR_API__SERVER is granian, which isn't installed: .venv/bin/python -m pip install --require-hashes "
            "--no-deps -r requirements/granian.txt"
        ) from None
    with processes.inherited_figures():
        granian.Granian(
            "api.main:create",
            factory=True,
            interface="asgi",
            address=settings.api.host,
            port=settings.api.port,
            workers=count,
            loop="uvloop",
            http="1",
            websockets=False,
            backlog=processes.BACKLOG,
            backpressure=_GRANIAN_AT_ONCE,
            log_enabled=False,
            respawn_failed_workers=True,
            workers_kill_timeout=settings.api.stop_s or None,
        ).serve()


def _serve_together(settings: Settings, count: int) -> int:
    _configure_logs(settings, background=False)
    try:
        bound = processes.listeners(settings.api.host, settings.api.port, count)
    except OSError as error:
        raise SystemExit(f"can't listen on {settings.api.host} port {settings.api.port}: {error.strerror}") from None
    structlog.get_logger("api.processes").info("API processes share a port", count=count, port=settings.api.port)

    def argv(listener: int, life: int) -> list[str]:
        return [sys.executable, "-m", "api.main", _ONE_OF_SEVERAL, str(listener), str(life)]

    return processes.Processes(bound, argv, stop_s=settings.api.stop_s).run()


if __name__ == "__main__":
    main()
