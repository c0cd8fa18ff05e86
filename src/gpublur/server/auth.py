"""API keys: read from a file, compared in constant time."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..dialects import Declined
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


@dataclass
class Visitor:
    """What is remembered of an address: since when wrong keys are counted, which opened, and who waits."""

    since: float
    wrong: int = 0
    waiting: int = 0
    opened: set[bytes] = field(default_factory=set)


class Attempts:
    """Makes guessing slow, for the address that guesses.

    Where an address has sent too many wrong keys within a minute, a key that has not opened from there before waits a
    second before it is looked at, and few may wait. Keys that have opened from there, and other addresses, do not.

    Parameters
    ----------
    clock : callable
        As `time.monotonic`.
    """

    FREE = 20  # wrong keys of one address in each minute
    MINUTE = 60.0
    PAUSE = 1.0  # seconds
    PLACES = 16  # of those who wait, for each address
    ADDRESSES = 4096  # that are remembered
    KEYS = 64  # of one address

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()

    async def wait(self, address: str, keys: tuple[str, ...]) -> None:
        """Return when these keys may be looked at.

        Raises
        ------
        Declined
            Too many wait already: 429.
        """
        visitor = self._of(address)
        if visitor.wrong < self.FREE or any(digest(key) in visitor.opened for key in keys):
            return
        if visitor.waiting >= self.PLACES:
            raise Declined(429, "too many wrong keys came from this address", {"retry-after": "1"})
        visitor.waiting += 1
        try:
            await asyncio.sleep(self.PAUSE)
        finally:
            visitor.waiting -= 1

    def tell(self, address: str, key: str | None) -> None:
        """Remember which key has opened; None: none has."""
        visitor = self._of(address)
        if key is None:
            visitor.wrong += 1
        elif len(visitor.opened) < self.KEYS:
            visitor.opened.add(digest(key))

    def _of(self, address: str) -> Visitor:
        now = self.clock()
        visitor = self._visitors.pop(address, None) or Visitor(now)
        if now - visitor.since > self.MINUTE:
            visitor.since, visitor.wrong = now, 0
        self._visitors[address] = visitor
        if len(self._visitors) > self.ADDRESSES:
            self._visitors.popitem(last=False)
        return visitor


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
