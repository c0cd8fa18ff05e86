"""What is loaded once, however many use it: the networks of a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Loaded = TypeVar("Loaded")

_lock = Lock()
_kept: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def once(kind: str, paths: tuple[Path, ...], device: object, load: Callable[[], Loaded]) -> Loaded:
    """Return what ``load`` made of these very files for this device; it goes when nobody uses it any more."""
    key = (kind, str(device), *(identity(path) for path in paths))
    with _lock:
        found: Loaded | None = _kept.get(key)
        if found is None:
            found = _kept[key] = load()
        return found


def identity(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written anew, and is the same by every path to it."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
