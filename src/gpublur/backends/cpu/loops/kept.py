"""Where compiled loops are kept: Numba's own places, and a private folder where none of these can be written.

A process reads from every place and writes to the first that takes it, so loops that were compiled when an image was
built serve its users, who cannot write there. Where nothing can be written the loops are compiled in every process.

What is kept is pickled code: whoever can write to a place can run code here. Numba's places are trusted as Python's own
are: NUMBA_CACHE_DIR, the package's __pycache__, the user's cache folder. The private one is made and checked below.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, _CacheLocator
from numba.misc.appdirs import AppDirs

from .... import optics

HERE = Path(__file__).parent
SECONDS = 25  # of CPU, to compile what a first blur needs with the model; 17 with a mask (docs/benchmarks.md)
log = logging.getLogger("gpublur.loops")


def keep(dispatcher: Any) -> Any:
    """Let a compiled function be kept, and return it."""
    dispatcher._cache = Places(dispatcher.py_func)
    return dispatcher


class Place(_CacheLocator):
    """A folder of compiled functions; a subclass for each, as Numba makes its locators itself."""

    folder: Path

    def __init__(self, function: Any) -> None:
        self.line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Any, _file: str) -> Place:
        return cls(function)

    @classmethod
    def trusted(cls) -> bool:
        return True

    def get_cache_path(self) -> str:
        return str(self.folder)

    def get_source_stamp(self) -> str:
        return stamp()

    def get_disambiguator(self) -> str:
        # Part of the files' names: what other sources left here is not even read, for its types may be gone.
        return f"{self.line}-{stamp()[:12]}"

    def ensure_cache_path(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)


class Private(Place):
    """A folder of this user alone among everybody's temporary files."""

    @classmethod
    def trusted(cls) -> bool:
        """Whether it is a folder, not a link to one, that belongs to this user and that nobody else can enter."""
        try:
            about = os.lstat(cls.folder)
        except OSError:
            return False
        return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077

    def ensure_cache_path(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if not self.trusted():
            raise PermissionError(f"{self.folder} is not a folder of this user's alone")


@cache
def places() -> list[tuple[type[Place], type[FunctionCache]]]:
    """Return where compiled loops may be, in the order in which they are looked for and written."""
    found = []

    def add(base: type[Place], folder: Path) -> None:
        if folder.is_absolute():  # without a home there are names that begin with ~
            place = type(base.__name__, (base,), {"folder": folder})
            implementation = type("Implementation", (CompileResultCacheImpl,), {"_locator_classes": [place]})
            found.append((place, type("Cache", (FunctionCache,), {"_impl_class": implementation})))

    if config.CACHE_DIR:
        add(Place, Path(config.CACHE_DIR).absolute() / "gpublur")
    add(Place, HERE / "__pycache__")
    add(Place, Path(AppDirs(appname="numba", appauthor=False).user_cache_dir) / "gpublur")
    if hasattr(os, "geteuid"):  # elsewhere temporary files are each user's own already
        with suppress(OSError):  # there may be no place for temporary files
            add(Private, Path(tempfile.gettempdir()) / f"gpublur-{os.geteuid()}")
    return found


class Places(NullCache):
    """What Numba asks when it needs a compiled version of a function, and tells when it has made one."""

    def __init__(self, function: Any) -> None:
        self.caches = [(place, cache(function)) for place, cache in places()]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        for place, kept in self.caches:
            if place.trusted():
                try:
                    found = kept.load_overload(sig, target_context)
                except OSError:  # not ours to read
                    continue
                if found is not None:
                    return found
        say_once(logging.INFO, f"compiling the loops for this kind of CPU: once, some {SECONDS} s of CPU time")
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        for _place, kept in self.caches:
            try:
                kept.save_overload(sig, data)
            except OSError:  # not ours to write
                continue
            return
        folders = ", ".join(str(place.folder) for place, _ in self.caches)
        say_once(
            logging.WARNING,
            f"compiled loops cannot be kept, every process compiles them anew: none of {folders} can be written; "
            "set NUMBA_CACHE_DIR to a folder that this user, and nobody else, can write",
        )


@cache
def stamp() -> str:
    """Return a hash of everything that ends up in compiled code: a change in any file makes all of it stale.

    Numba itself looks at the file of the outermost function alone.
    """
    sources = [*sorted(HERE.glob("*.py")), Path(optics.__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


@cache
def say_once(level: int, message: str) -> None:
    log.log(level, message)
