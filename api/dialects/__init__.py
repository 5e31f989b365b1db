"""Other APIs' clients, served as they are: each dialect is a file that only maps onto the core."""

from collections.abc import Collection

from fastapi import FastAPI

from api.dialects import microservice, mlx_mvp, openai_server, production_scale, shared_paths
from api.dialects.error_bodies import ErrorBodyMiddleware
from api.dialects.openai import routes as openai_routes
from api.dialects.openai.paths import OpenAIPathMiddleware

_OPENAI, _TRANSCRIBE = {"openai", "openai_server"}, {"whisper_serve", "production_scale"}
# Paths that two products have: they are there for either.
_SHARED = {"/v1/audio/transcriptions": _OPENAI, "/transcribe": _TRANSCRIBE}
# By the product whose clients they serve.
_ROUTERS = {
    "openai": openai_routes.router,
    "openai_server": openai_server.router,
    "mlx_mvp": mlx_mvp.router,
    "production_scale": production_scale.router,
    "microservice": microservice.router,
}
# Whose body an error has, by its path; everywhere else it is a problem.
_SHAPES = {
    r"/v1/(audio/.*|models(/.+)?|chat/completions)|/debug/audio-info": (_OPENAI, openai_routes.error_body),
    r"/v1/transcribe": ({"mlx_mvp"}, mlx_mvp.busy),
    r"/transcribe": (_TRANSCRIBE, shared_paths.error_body),
}


def install(app: FastAPI, served: Collection[str]) -> None:
    """Make *app* serve the dialects of these names, errors included."""
    shared = [route for route in shared_paths.router.routes if _SHARED[getattr(route, "path", "")].intersection(served)]
    app.router.routes += shared
    for name, router in _ROUTERS.items():
        if name in served:
            app.router.routes += router.routes
    shapes = {path: shape for path, (names, shape) in _SHAPES.items() if names.intersection(served)}
    app.add_middleware(ErrorBodyMiddleware, shapes=shapes)
    if _OPENAI.intersection(served):
        app.add_middleware(OpenAIPathMiddleware)
