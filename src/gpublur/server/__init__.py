"""A stand-in for both hosted APIs, on one's own machine: ``gpublur serve``."""

from __future__ import annotations

from .app import create_app
from .settings import Settings

__all__ = ["Settings", "create_app", "serve"]


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    import uvicorn

    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.work_seconds),
    )
