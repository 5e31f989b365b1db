"""Other APIs' clients, served as they are: each dialect is a file that only maps onto the core."""

from fastapi import FastAPI

from api.dialects import microservice, mlx_mvp, openai, openai_server, production_scale, shared_paths
from api.dialects.error_bodies import ErrorBodyMiddleware
from api.dialects.openai_paths import OpenAIPathMiddleware

_ROUTERS = (
    shared_paths.router,
    openai.router,
    openai_server.router,
    mlx_mvp.router,
    production_scale.router,
    microservice.router,
)
# Whose body an error has, by its path; everywhere else it is a problem.
_SHAPES = {
    r"(?s)/v1/(audio/.*|models(/.+)?|chat/completions)|/debug/audio-info": openai.error_body,
    r"/v1/transcribe": mlx_mvp.busy,
    r"/transcribe": shared_paths.error_body,
}


def install(app: FastAPI) -> None:
    """Make *app* serve every dialect, errors included."""
    for router in _ROUTERS:
        app.include_router(router)
    app.add_middleware(ErrorBodyMiddleware, shapes=_SHAPES)
    app.add_middleware(OpenAIPathMiddleware)
