"""The API as a process: `uvicorn --factory api.main:create`, or `python -m api.main`."""

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.server import Protocol, Server
from transcription.observability import logs
from transcription.settings import InvalidSettings, Settings, read_settings


def create() -> FastAPI:
    """The application by the environment's settings, with its logs set up."""
    settings = _settings()
    logs.configure(level=settings.log_level, style=settings.log_format, service="api")
    return create_app(settings)


def _settings() -> Settings:
    """The environment's settings; what is wrong with them ends the process with a sentence, not a traceback."""
    try:
        return read_settings()
    except InvalidSettings as error:
        raise SystemExit(f"settings: {error}") from None


def main() -> None:
    """Serve until told to stop."""
    api = _settings().api
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
    Server(config).run(sockets=[config.bind_socket()])


if __name__ == "__main__":
    main()
