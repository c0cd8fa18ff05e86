"""API keys: read from a file, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from ..errors import InvalidArgument

LEAST = 16  # characters; shorter ones can be guessed


class Keys:
    """The keys that open the server; only their digests are kept."""

    def __init__(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"keys={str(path)!r} cannot be read: {error}") from error
        keys = [line.partition("#")[0].strip() for line in lines]
        keys = [key for key in keys if key]
        if not keys:
            raise InvalidArgument(f"keys={str(path)!r} holds no key")
        if min(map(len, keys)) < LEAST:
            raise InvalidArgument(f"keys={str(path)!r} holds a key of fewer than {LEAST} characters")
        self._digests = [digest(key) for key in keys]

    def open(self, key: str) -> bool:
        """Return whether the key is one of ours; how long that takes tells nothing about any of them."""
        given = digest(key)
        return sum(hmac.compare_digest(given, known) for known in self._digests) > 0  # `any` would end at the first


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
