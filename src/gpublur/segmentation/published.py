"""Weights that other people publish: one file each, of a known sum. They come here when somebody asks for that."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import InvalidArgument, ModelUnavailable
from . import hub
from .sharing import identity

MODELS = "GPUBLUR_MODELS"  # environment variable: a folder where the files lie, or the URL of a mirror
CONFIGS = Path(__file__).parent / "configs"
CHUNK = 1 << 20  # bytes, after each of which the progress is told

Progress = Callable[[int, int], None]  # bytes that have arrived, and of all


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes
    ----------
    url : str
        Where its publishers have it.
    bytes : int
    sha256 : str
        Of the whole file; one that differs is not used.
    config : str
        Name of its config among those of this package.
    """

    url: str
    bytes: int
    sha256: str
    config: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where the file is, or has to be."""
        return folder() / self.file

    @property
    def is_here(self) -> bool:
        """Whether a file of its size is; `files` compares the sum."""
        return self.path.is_file() and self.path.stat().st_size == self.bytes

    def files(self, name: str) -> tuple[Path, Path]:
        """Return the weights and their config.

        Raises
        ------
        ModelUnavailable
            The file is not here, or is another one. Nothing is downloaded: that takes minutes, and somebody's consent.
        """
        path = self.path
        if not path.is_file():
            raise ModelUnavailable(
                f"model={name!r} is not here yet: `gpublur models fetch {name}` downloads {self.bytes / 1e6:.1f} MB. "
                f"{self._by_hand(path)}"
            )
        found = _sum(path, identity(path))
        if found != self.sha256:
            raise ModelUnavailable(
                f"model={name!r}: {path} has the SHA-256 {found}, not {self.sha256}: it is not used. "
                f"`gpublur models fetch {name}` replaces it"
            )
        return path, CONFIGS / self.config

    def fetch(self, name: str, progress: Progress | None = None) -> Path:
        """Return the file's path, having downloaded it where it is not here, or broken; it appears as a whole, or not.

        Raises
        ------
        ModelUnavailable
            It cannot be had, or not be written.
        """
        path = self.path
        if path.is_file() and _sum(path, identity(path)) == self.sha256:
            return path
        if forbidden := hub.offline():
            raise ModelUnavailable(
                f"model={name!r} is not here yet, and {forbidden} forbids the network. {self._by_hand(path)}"
            )
        try:
            self._download(path, progress)
        except Exception as error:  # no network, a broken download, another file, a full disk
            raise ModelUnavailable(
                f"model={name!r} could not be downloaded, and nothing of it was kept: {type(error).__name__}: {error}. "
                f"{self._by_hand(path)}"
            ) from error
        return path

    def _download(self, path: Path, progress: Progress | None) -> None:
        import pooch

        bar = _Bar(progress) if progress else False
        http = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=hub.TIMEOUT)

        def download(url: str, file: str, of: object) -> None:
            http(url, file, of)
            os.chmod(file, 0o644)  # a temporary one is its owner's alone; a server may run as somebody else

        pooch.get_logger().setLevel("WARNING")
        source = f"{_mirror().rstrip('/')}/{self.file}" if _mirror() else self.url
        pooch.retrieve(source, f"sha256:{self.sha256}", path.name, path.parent, downloader=download)

    def _by_hand(self, path: Path) -> str:
        return f"Without a network, put {self.file} (of {self.url}, SHA-256 {self.sha256}) at {path}"


def folder() -> Path:
    """Return where the files lie: the folder that the environment names, else one in the user's cache."""
    named = os.environ.get(MODELS, "")
    if named and not _mirror():
        if "://" in named:
            raise InvalidArgument(f"{MODELS}={named!r} is not a folder or a URL of http or https")
        return Path(named).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("gpublur"))


def _mirror() -> str:
    named = os.environ.get(MODELS, "")
    return named if named.startswith(("http://", "https://")) else ""


@lru_cache(maxsize=16)  # once for each file as it is now: of a gigabyte that takes seconds
def _sum(path: Path, _identity: tuple[int, ...]) -> str:
    return hub.sha256(path)


class _Bar:
    """What pooch asks of a progress bar."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.total, self.done = progress, 0, 0

    def update(self, count: int) -> None:
        self.done += count
        self.progress(min(self.done, self.total), self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass
