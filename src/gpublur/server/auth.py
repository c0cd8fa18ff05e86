"""API keys: read from a file, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from pathlib import Path

from ..errors import InvalidArgument

log = logging.getLogger("gpublur")

LEAST = 16  # characters; shorter ones can be guessed
PRINTABLE = re.compile(r"[!-~]+")  # what every client can send in a header, in the same bytes


class Keys:
    """The keys that open the server; only their digests are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digests = read(path)

    def open(self, key: str) -> bool:
        """Return whether the key is one of ours; how long that takes tells nothing about any of them."""
        given = digest(key)
        return sum(hmac.compare_digest(given, known) for known in self._digests) > 0  # `any` would end at the first

    def reload(self) -> None:
        """Read the file again; where that is not possible, the keys stay."""
        try:
            self._digests = read(self.path)
            log.warning("keys were read again: there are %d", len(self._digests))
        except InvalidArgument as error:
            log.error("keys stay as they were: %s", error)


def read(path: Path) -> list[bytes]:
    """Return the digests of the keys in a file; a line that begins with # is a comment."""
    named = f"keys={str(path)!r}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{named} cannot be read: {error}") from error
    if mode & 0o027:
        log.warning("%s has mode %o: others can read or change it; chmod 600", named, mode)
    keys = {number: line.strip() for number, line in enumerate(lines, 1) if not line.startswith("#") and line.strip()}
    if not keys:
        raise InvalidArgument(f"{named} holds no key")
    for number, key in keys.items():
        if not PRINTABLE.fullmatch(key):
            raise InvalidArgument(
                f"{named}, line {number}: a key has printable ASCII characters and no spaces; a comment has a line of "
                "its own, which begins with #"
            )
    if min(map(len, keys.values())) < LEAST:
        raise InvalidArgument(f"{named} holds a key of fewer than {LEAST} characters")
    return [digest(key) for key in keys.values()]


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
