"""Results that are fetched later: under names that nobody can guess, for a while, within bounds."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import NamedTuple

from ..dialects import Declined


class Entry(NamedTuple):
    path: Path
    size: int
    media_type: str
    expires: float


class Store:
    """Files in a folder of its own, which goes when the store is closed.

    Parameters
    ----------
    max_bytes : int
        The oldest results go where the next would exceed this.
    seconds : float
        How long a result lives.
    """

    def __init__(self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes, self.seconds, self.clock = max_bytes, seconds, clock
        self.bytes = 0
        self._folder = TemporaryDirectory(prefix="gpublur-results-")
        self._entries: dict[str, Entry] = {}  # oldest first
        self._lock = Lock()

    def put(self, data: bytes, media_type: str) -> str:
        """Keep a result and return its name."""
        if len(data) > self.max_bytes:
            raise Declined(503, f"the result has {len(data)} bytes, more than this server can keep")
        name = secrets.token_urlsafe(32)
        path = Path(self._folder.name, name)
        path.write_bytes(data)
        with self._lock:
            self._make_room(len(data))
            self._entries[name] = Entry(path, len(data), media_type, self.clock() + self.seconds)
            self.bytes += len(data)
        return name

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return a result and its media type, or None where there is none (any more)."""
        with self._lock:
            self._make_room(0)
            entry = self._entries.get(name)
            return entry and (entry.path.read_bytes(), entry.media_type)

    def close(self) -> None:
        self._folder.cleanup()

    def _make_room(self, size: int) -> None:
        now = self.clock()
        for name, entry in list(self._entries.items()):
            if entry.expires > now and self.bytes + size <= self.max_bytes:
                break
            del self._entries[name]
            entry.path.unlink(missing_ok=True)
            self.bytes -= entry.size
