"""HTTP connections that do not wait for ever: uvicorn has no time limit for the head of a request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Idle:
    """The connections that wait for a head, by their address; who has waited longest comes first."""

    def __init__(self) -> None:
        self._by_address: dict[str, dict[Protocol, None]] = {}

    def add(self, connection: Protocol) -> None:
        self.remove(connection)
        self._by_address.setdefault(connection.address, {})[connection] = None

    def remove(self, connection: Protocol) -> None:
        ours = self._by_address.get(connection.address, {})
        ours.pop(connection, None)
        if not ours:
            self._by_address.pop(connection.address, None)

    def pop(self) -> Protocol | None:
        """Return the oldest one of the address that has most; None where none waits any more."""
        while self._by_address:
            ours = max(self._by_address.values(), key=len)
            connection = next(iter(ours))
            self.remove(connection)
            if connection.waits:
                return connection
        return None


class Protocol(H11Protocol):
    """A connection that is dropped when a request's head takes too long, or makes room where there are too many.

    Parameters
    ----------
    head_seconds : float
    max_connections : int
    idle : Idle
        Of all connections of the server.
    """

    def __init__(self, *args: Any, head_seconds: float, max_connections: int, idle: Idle, **options: Any) -> None:
        super().__init__(*args, **options)
        self.head_seconds, self.max_connections, self.idle = head_seconds, max_connections, idle
        self._timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def waits(self) -> bool:
        """Whether no request has begun since the last was answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            longest = self.idle.pop()
            if longest is None:
                transport.abort()
                return
            longest.transport.abort()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.idle.remove(self)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # a next request may have arrived already, and begun
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.head_seconds, self._look)
        self.idle.add(self)

    def _look(self) -> None:
        self.idle.remove(self)
        if self.waits:
            self.transport.abort()
