"""Results that are fetched later: under names that nobody can guess, for a while, within bounds."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

from ..dialects import Declined
from ..errors import ImageFileError, InvalidArgument
from ..image_io import write_file

log = logging.getLogger("gpublur")

PREFIX = "gpublur-results-"
LOCK = ".lock"
RECORD = ".job"  # ends the names of records, which are no results
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Entry(NamedTuple):
    path: Path
    size: int
    expires: float


class Store:
    """Files in a folder of its own.

    Parameters
    ----------
    max_bytes : int
        The oldest results go where the next would exceed this.
    seconds : float
        How long a result lives.
    folder : Path, optional
        What is in it from before is kept. By default a temporary one, which goes when the store is closed; what others
        have left who were killed goes when one is made.
    clock : callable
        As `time.time`.

    Raises
    ------
    InvalidArgument
        The folder cannot be had, or another server has it.
    """

    def __init__(
        self, max_bytes: int, seconds: float, folder: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.max_bytes, self.seconds, self.clock = max_bytes, seconds, clock
        self.bytes = 0
        self._lock = Lock()
        self._entries: dict[str, Entry] = {}  # oldest first
        self._temporary = folder is None
        if folder is None:
            sweep(Path(tempfile.gettempdir()))
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = held(folder)
            self._find()
        except OSError as error:
            raise InvalidArgument(f"store={str(folder)!r} cannot be used: {error}") from error
        if self._held is None:
            raise InvalidArgument(f"store={str(folder)!r} is in use by another server")

    def _find(self) -> None:
        """Take over what is there."""
        found = []
        for path in self._folder.iterdir():
            if path.name.startswith(".gpublur-"):  # half a file, of one who was killed
                path.unlink(missing_ok=True)
            elif path.name != LOCK and path.is_file():
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        for modified, size, path in sorted(found):
            self._entries[path.name if path.suffix == RECORD else path.stem] = Entry(
                path, size, modified + self.seconds
            )
            self.bytes += size
        self._make_room(0)

    def put(self, data: bytes, media_type: str) -> str:
        """Keep a result and return its name.

        Raises
        ------
        Declined
            It is too large for this store (503), or there is no room on the disk even without all others (507).
        """
        name = secrets.token_urlsafe(32)
        self._keep(name, self._folder / f"{name}.{media_type.partition('/')[2]}", data)
        return name

    def write(self, name: str, data: bytes) -> None:
        """Keep a record, in the place of what had that name; it raises what `put` raises."""
        self._keep(name + RECORD, self._folder / (name + RECORD), data)

    def read(self, name: str) -> bytes | None:
        """Return a record, or None where there is none (any more)."""
        return self._opened(name + RECORD, lambda path: path.read_bytes())

    def records(self) -> list[bytes]:
        """Return all records, oldest first."""
        names = [name.removesuffix(RECORD) for name in list(self._entries) if name.endswith(RECORD)]
        return [data for name in names if (data := self.read(name)) is not None]

    def _keep(self, name: str, path: Path, data: bytes) -> None:
        if len(data) > self.max_bytes:
            raise Declined(503, f"the result has {len(data)} bytes, more than this server can keep")
        with self._lock:
            old = self._entries.pop(name, None)
            if old is not None:
                self.bytes -= old.size  # the file is replaced in one step
            self._make_room(len(data))
            while True:
                try:
                    write_file(path, data)
                    break
                except ImageFileError as error:
                    if getattr(error.__cause__, "errno", None) not in FULL or not self._entries:
                        log.error("a result cannot be kept: %s", error)
                        raise Declined(507, "the server has no room to keep the result") from error
                    self._drop(next(iter(self._entries)))  # the oldest goes, and there may be room
            self._entries[name] = Entry(path, len(data), self.clock() + self.seconds)
            self.bytes += len(data)

    def get(self, name: str) -> tuple[BinaryIO, str] | None:
        """Return a result, opened, and its media type, or None where there is none (any more)."""
        if name.endswith(RECORD):
            return None
        file = self._opened(name, lambda path: path.open("rb"))
        return None if file is None else (file, f"image/{Path(file.name).suffix[1:]}")

    def _opened(self, name: str, how: Callable[[Path], Any]) -> Any:
        with self._lock:
            self._make_room(0)
            entry = self._entries.get(name)
            if entry is None:
                return None
            try:
                return how(entry.path)
            except FileNotFoundError:  # somebody cleans up temporary files
                self._drop(name)
                return None

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        now = self.clock()
        for name, entry in list(self._entries.items()):
            if entry.expires > now and self.bytes + size <= self.max_bytes:
                break
            self._drop(name)

    def _drop(self, name: str) -> None:
        entry = self._entries.pop(name)
        entry.path.unlink(missing_ok=True)
        self.bytes -= entry.size


def held(folder: Path) -> BinaryIO | None:
    """Return the folder's lock, which the end of this process opens in any case; None where another has it."""
    lock = (folder / LOCK).open("wb")
    try:
        import fcntl
    except ImportError:  # Windows: no two servers on one folder, please
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def sweep(parent: Path) -> None:
    """Remove the temporary folders of servers that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = held(folder)
        except OSError:
            continue
        if lock is not None:
            lock.close()
            shutil.rmtree(folder, ignore_errors=True)
