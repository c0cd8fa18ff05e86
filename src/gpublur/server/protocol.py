"""HTTP connections that do not wait for ever: uvicorn has no time limit for the head of a request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Protocol(H11Protocol):
    """A connection that is dropped when a request's head takes too long, or when there are too many.

    Parameters
    ----------
    head_seconds : float
    max_connections : int
    """

    def __init__(self, *args: Any, head_seconds: float, max_connections: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.head_seconds, self.max_connections = head_seconds, max_connections
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # a next request may have arrived already, and begun
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.head_seconds, self._look)

    def _look(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
