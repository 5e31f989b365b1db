"""Other APIs' clients, served as they are: each dialect is a file that only maps onto the core."""

from api.dialects import microservice, mlx_mvp, openai, openai_server, production_scale, shared_paths

ROUTERS = (
    shared_paths.audio,
    shared_paths.transcribe_routes,
    openai.router,
    openai_server.router,
    mlx_mvp.router,
    production_scale.router,
    microservice.router,
)
