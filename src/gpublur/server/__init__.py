"""A stand-in for both hosted APIs, on one's own machine: ``gpublur serve``."""

from __future__ import annotations

import signal
from copy import deepcopy
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from .app import create_app
from .settings import Settings

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Settings", "configured", "create_app", "serve"]

BACKLOG = 128  # connections that are taken at a time: those that have gone already are seen before the next
STOP_SECONDS = 8  # for what is being answered when the server is told to stop; Kubernetes, for one, waits 30


def configured(settings: Settings, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for a server."""
    import uvicorn
    from uvicorn.config import LOGGING_CONFIG

    from .protocol import Idle, Protocol

    logs = deepcopy(LOGGING_CONFIG)
    logs["formatters"]["plain"] = {"format": "%(message)s"}
    logs["handlers"]["plain"] = {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"}
    logs["loggers"]["gpublur.access"] = {"handlers": ["plain"], "level": "INFO", "propagate": False}
    logs["loggers"]["gpublur"] = {"handlers": ["default"], "level": "WARNING"}
    given: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": partial(
            Protocol, head_seconds=settings.head_seconds, max_connections=settings.max_connections, idle=Idle()
        ),
        "ws": "none",
        "access_log": False,
        "log_config": logs,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": STOP_SECONDS,
        "backlog": BACKLOG,
    }
    return uvicorn.Config(create_app(settings), **given | options)


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if not self.started:  # models are being loaded, code compiled: nobody is being answered yet
                signal.signal(sig, signal.SIG_DFL)
                signal.raise_signal(sig)
            super().handle_exit(sig, frame)

    config = configured(settings)
    socket = config.bind_socket()
    socket.listen(config.backlog)  # before models are loaded: where another server has the port, that is said at once
    Server(config).run(sockets=[socket])
