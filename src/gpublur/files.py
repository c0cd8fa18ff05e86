"""Which files are read, of folders too, and where their results go: all that is known before a picture is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import image_io
from .errors import ImageFileError, InvalidArgument
from .image_io import Photo

STREAM = Path("-")  # standard input, or standard output
NOBODYS = ("Thumbs.db", "desktop.ini")  # files that systems leave in folders


class Job(NamedTuple):
    """One picture to read and where its result goes; the destination's suffix names the format."""

    source: Path
    destination: Path
    format: str | None = None  # where no suffix names it

    def exists(self) -> bool:
        """Return whether something is where the result goes."""
        return self.destination != STREAM and os.path.lexists(self.destination)

    def format_for(self, photo: Photo) -> str:
        """Return the format in which the result of a photo is written."""
        if self.destination != STREAM:
            return image_io.format_of(self.destination)
        return self.format or image_io.fitting(photo.format, alpha=False)


def plan(
    inputs: Sequence[Path], output: Path, *, format: str | None = None, alpha: bool = False, overwrite: bool = False,
    skip_existing: bool = False,
) -> list[Job]:  # fmt: skip
    """Return the jobs that take ``inputs`` to ``output``, after every check that can be made without reading a picture.

    Parameters
    ----------
    inputs : sequence of Path
        Pictures, and directories of them. Directories are walked: files with a suffix of `image_io.SUFFIXES`, neither
        hidden nor below ``output``; the tree below each directory is kept. `STREAM` is standard input.
    output : Path
        A file if there is one input file and the name has a picture's suffix; else a directory, made when needed: for
        one input file its name has no suffix, or it is there. `STREAM` is standard output, for one input file.
    format : str, optional
        One of `image_io.WRITTEN`. By default that of ``output``'s name where it is a file, else that of each
        input's name, or PNG where that cannot hold the result (a cut-out from a JPEG, anything from a GIF or an unknown
        suffix).
    alpha : bool
        Whether results have an alpha channel.
    overwrite : bool
        Whether existing files may be replaced, the inputs among them.
    skip_existing : bool
        Whether existing files are no fault, for their jobs will be skipped.

    Raises
    ------
    InvalidArgument
        Two inputs would write one output (also where only upper and lower case differ), an output exists, or the format
        does not fit.
    ImageFileError
        An input is missing, a directory holds no picture, or ``output`` cannot be written to.
    """
    if format is not None:
        format = image_io.written(format, alpha=alpha)
    if output == STREAM:
        return [_streamed(inputs, format)]
    one = len(inputs) == 1 and not os.path.isdir(inputs[0])
    if one and output.suffix and output.suffix.lower() not in image_io.SUFFIXES and not os.path.isdir(output):
        known = ", ".join(image_io.SUFFIXES)
        raise InvalidArgument(f"{output}: names no picture format ({known}), and there is no such folder to write to")
    if output.suffix.lower() in image_io.SUFFIXES and not os.path.isdir(output):
        jobs = [_single(inputs, output, format, alpha)]
    else:
        found = (pair for path in inputs for pair in _pictures(path, output))
        jobs = [Job(source, output / renamed(relative, format, alpha)) for source, relative in found]
    refuse_collisions(jobs)
    check_destinations([job.destination for job in jobs], overwrite=overwrite or skip_existing)
    return jobs


def given(path: Path) -> Path | bytes:
    """Return what is read for a path: the file itself, or what comes from standard input."""
    return sys.stdin.buffer.read() if path == STREAM else path


def masks_for(inputs: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return where the mask of each picture of the inputs is: in ``folder``, as ``gpublur mask`` writes them there."""
    found = (pair for path in inputs for pair in _pictures(path, folder))
    return {source: folder / renamed(relative, "PNG", False) for source, relative in found}


def check_destinations(destinations: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to write where something is, or where nothing can be written.

    Raises
    ------
    InvalidArgument
        A destination exists: a directory, or a file without ``overwrite``.
    ImageFileError
        A destination's folder cannot be written to, or cannot be made.
    """
    for destination in destinations:
        if os.path.isdir(destination):
            raise InvalidArgument(f"{destination}: is a directory, where a picture would be written")
        if os.path.lexists(destination) and not overwrite:
            raise InvalidArgument(f"{destination}: exists already; choose another output, or replace it by --overwrite")
        folder = next(p for p in destination.absolute().parents if os.path.exists(p))
        if not os.path.isdir(folder):
            raise ImageFileError(f"{destination}: cannot be written: {folder} is not a directory")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ImageFileError(f"{destination}: cannot be written: no permission to write in {folder}")


def _single(inputs: Sequence[Path], output: Path, format: str | None, alpha: bool) -> Job:
    """Return the job of one input file to one output file."""
    if len(inputs) != 1 or os.path.isdir(inputs[0]):
        raise InvalidArgument(f"{output}: names one picture, but the input is a folder or several files")
    named = image_io.format_written(output, alpha=alpha)
    if format not in (None, named):
        raise InvalidArgument(f"{output}: names a {named} file, but {format} is to be written")
    [(source, _)] = _pictures(inputs[0], output)
    return Job(source, output)


def _streamed(inputs: Sequence[Path], format: str | None) -> Job:
    """Return the job of one input file to standard output."""
    if len(inputs) != 1 or (inputs[0] != STREAM and os.path.isdir(inputs[0])):
        raise InvalidArgument("-: standard output takes one picture, but the input is a folder or several files")
    if sys.stdout.isatty():
        raise InvalidArgument("-: standard output is a terminal; send it to a file or another program")
    [(source, _)] = _pictures(inputs[0], STREAM)
    return Job(source, STREAM, format)


def passed_over(inputs: Sequence[Path], output: Path) -> list[Path]:
    """Return the files below the inputs that are not read, for their suffixes are of no picture that can be."""
    folders = (path for path in inputs if path != STREAM and os.path.isdir(path))
    files = (file for folder in folders for file, _ in _visible(folder, output))
    return [file for file in files if not _is_picture(file) and file.name not in NOBODYS]


def _pictures(path: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each picture of an input, with its path relative to where that input's tree begins."""
    if path == STREAM:
        yield path, Path("stdin")
        return
    if os.path.exists(path) and not os.path.isdir(path):  # also a named pipe
        yield path, Path(path.name)
        return
    if not os.path.isdir(path):
        raise ImageFileError(f"{path}: no such file or directory")
    empty = True
    for file, relative in _visible(path, output):
        if _is_picture(file):
            empty = False
            yield file, relative
    if empty:
        raise ImageFileError(f"{path}: holds no picture ({', '.join(image_io.SUFFIXES)})")


def _visible(folder: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file below a folder that is neither hidden nor below ``output``, and its path from there."""
    root, target = folder.resolve(), output.resolve()
    skipped = target.relative_to(root) if root in target.parents else None  # a second run must not read the first's
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        ours = skipped is not None and relative.is_relative_to(skipped)
        if not hidden and not ours and file.is_file():
            yield file, relative


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in image_io.SUFFIXES


def renamed(path: Path, format: str | None, alpha: bool) -> Path:
    """Return ``path`` with the suffix of the format that its result is written in."""
    own = image_io.SUFFIXES.get(path.suffix.lower())
    format = format or image_io.fitting(own, alpha=alpha)
    if own == format:
        return path
    stem = path.name if own is None else path.stem
    return path.with_name(stem + image_io.FORMATS[format].suffixes[0])


def refuse_collisions(jobs: Sequence[Job]) -> None:
    """Raise `InvalidArgument` if two jobs write one file."""
    writers: dict[str, Path] = {}
    for source, destination, _ in jobs:
        key = str(destination).casefold()  # many file systems ignore case
        if key in writers:
            raise InvalidArgument(f"{writers[key]} and {source} would both write {destination}: separate their runs")
        writers[key] = source
