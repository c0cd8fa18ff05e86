"""Many files: what is read, where it goes, and what failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from . import codec
from .codec import Photo
from .edit import ImageFileError, InvalidArgument
from .pipeline import overlap


class Job(NamedTuple):
    """One picture to read and where its result goes; the destination's suffix names the format."""

    source: Path
    destination: Path


class Failure(NamedTuple):
    """One picture that could not be done, and why."""

    source: Path
    reason: str


def plan(
    inputs: Sequence[Path], output: Path, *, format: str | None = None, alpha: bool = False, overwrite: bool = False
) -> list[Job]:
    """Return the jobs that take ``inputs`` to ``output``, after every check that can be made without reading a picture.

    Parameters
    ----------
    inputs : sequence of Path
        Pictures, and directories of them. Directories are walked: files with a suffix of `codec.SUFFIXES`, neither
        hidden nor below ``output``; the tree below each directory is kept.
    output : Path
        A file if there is one input file and the name has a picture's suffix; else a directory, made when needed: for
        one input file its name has no suffix, or it is there.
    format : str, optional
        One of `codec.WRITTEN`. By default that of ``output``'s name where it is a file, else that of each input's name,
        or PNG where that cannot hold the result (a cut-out from a JPEG, anything from a GIF or an unknown suffix).
    alpha : bool
        Whether results have an alpha channel.
    overwrite : bool
        Whether existing files may be replaced, the inputs among them.

    Raises
    ------
    InvalidArgument
        Two inputs would write one output (also where only upper and lower case differ), an output exists, or the format
        does not fit.
    ImageFileError
        An input is missing, a directory holds no picture, or ``output`` cannot be written to.
    """
    if format is not None:
        format = codec.written(format, alpha=alpha)
    one = len(inputs) == 1 and not os.path.isdir(inputs[0])
    if one and output.suffix and output.suffix.lower() not in codec.SUFFIXES and not os.path.isdir(output):
        known = ", ".join(codec.SUFFIXES)
        raise InvalidArgument(f"{output}: names no picture format ({known}), and there is no such folder to write to")
    if output.suffix.lower() in codec.SUFFIXES and not os.path.isdir(output):
        jobs = [_single(inputs, output, format, alpha)]
    else:
        found = (pair for path in inputs for pair in _pictures(path, output))
        jobs = [Job(source, output / _renamed(relative, format, alpha)) for source, relative in found]
    _refuse_collisions(jobs)
    check_destinations([job.destination for job in jobs], overwrite=overwrite)
    return jobs


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


def run(
    jobs: Iterable[Job],
    work: Callable[[Photo], Photo],
    *,
    quality: int = codec.QUALITY,
    progress: Callable[[int], None] | None = None,
) -> list[Failure]:
    """Do the ``jobs``, several at a time, each through ``work``, and return those that failed, in the jobs' order.

    The photos that ``work`` is given have the ``format`` that their results are written in. ``progress`` is called with
    the number of jobs that are over.

    Whatever one picture raises ends only that picture, so that a night's work outlives the one nobody foresaw; but
    `DeviceUnavailable` and `ModelUnavailable`, from which no other picture would be spared, end the run.
    """

    def one(job: Job) -> None:
        photo = replace(codec.decode(job.source), format=codec.format_of(job.destination))
        save(job.destination, codec.encode(work(photo), photo.format, quality=quality))

    failures = []
    for job, _, error in overlap(jobs, one, progress=progress):
        if error is not None:
            reason = str(error) or type(error).__name__
            failures.append(Failure(job.source, reason.removeprefix(f"{job.source}: ")))
    return failures


def save(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, making its folders; nobody ever sees half a file.

    Raises
    ------
    ImageFileError
        The file cannot be written; nothing is left behind, and what was at ``path`` is untouched.
    """
    temporary = path.with_name(f".gpublur-{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be written: {error.strerror}") from error


def _single(inputs: Sequence[Path], output: Path, format: str | None, alpha: bool) -> Job:
    """Return the job of one input file to one output file."""
    if len(inputs) != 1 or os.path.isdir(inputs[0]):
        raise InvalidArgument(f"{output}: names one picture, but the input is a folder or several files")
    named = codec.format_of(output)
    codec.written(named, alpha=alpha)
    if format not in (None, named):
        raise InvalidArgument(f"{output}: names a {named} file, but {format} is to be written")
    [(source, _)] = _pictures(inputs[0], output)
    return Job(source, output)


def _pictures(path: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each picture of an input, with its path relative to where that input's tree begins."""
    if os.path.isfile(path):
        yield path, Path(path.name)
        return
    if not os.path.isdir(path):
        raise ImageFileError(f"{path}: no such file or directory")
    root, target = path.resolve(), output.resolve()
    skipped = target.relative_to(root) if root in target.parents else None  # a second run must not read the first's
    empty = True
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        hidden = any(part.startswith(".") for part in relative.parts)
        ours = skipped is not None and relative.is_relative_to(skipped)
        if file.suffix.lower() in codec.SUFFIXES and not hidden and not ours and file.is_file():
            empty = False
            yield file, relative
    if empty:
        raise ImageFileError(f"{path}: holds no picture ({', '.join(codec.SUFFIXES)})")


def _renamed(path: Path, format: str | None, alpha: bool) -> Path:
    """Return ``path`` with the suffix of the format that its result is written in."""
    own = codec.SUFFIXES.get(path.suffix.lower())
    format = format or codec.fitting(own, alpha=alpha)
    if own == format:
        return path
    stem = path.name if own is None else path.stem
    return path.with_name(stem + codec.FORMATS[format].suffixes[0])


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """Raise `InvalidArgument` if two jobs write one file."""
    writers: dict[str, Path] = {}
    for source, destination in jobs:
        key = str(destination).casefold()  # many file systems ignore case
        if key in writers:
            raise InvalidArgument(f"{writers[key]} and {source} would both write {destination}: separate their runs")
        writers[key] = source
