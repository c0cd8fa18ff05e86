"""Many pictures: several at a time and never more than fit; what is read of folders, and where it goes."""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import backends, image_io
from .checks import number, whole
from .errors import DeviceUnavailable, ImageFileError, InvalidArgument, ModelUnavailable
from .image_io import Photo
from .types import MaskInfo

ENDS_ALL = (DeviceUnavailable, ModelUnavailable)  # no other picture would be spared


class Outcome(NamedTuple):
    """What became of one item.

    Attributes
    ----------
    source
        The item as it was given.
    value
        What the work made of it (`process`: the bytes of the new file); None where it failed.
    error : Exception, optional
        Why it failed.
    """

    source: Any
    value: Any
    error: Exception | None


def process(
    sources: Iterable[Path | str | bytes],
    work: Callable[[Any], Any],
    *,
    format: str | None = None,
    jpeg_quality: int = image_io.JPEG_QUALITY,
    workers: int | None = None,
    queue: int | None = None,
    ordered: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Outcome]:
    """Decode pictures, work on their pixels and encode the results, several pictures at a time.

    Each of ``workers`` threads takes one picture from its bytes to its result, so that reading, decoding, the model,
    the blur and encoding of different pictures overlap. The first picture goes alone: it loads the model and compiles
    what the others share. Sources are taken, and results made, only as results are asked for: at most
    ``workers + queue`` pictures are in memory, however many there are and however slow the caller is.

    Parameters
    ----------
    sources : iterable of path or bytes
        Files, or their contents; may be endless.
    work : callable
        From pixels to pixels, in several threads at once: an Editor's ``blur_background``, a lambda with options, ...
        Pixels are (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
    format : str, optional
        One of `gpublur.image_io.WRITTEN`, in any case; by default each picture's own, or PNG where that cannot hold the
        result.
    jpeg_quality : int
        1 to 100, of JPEG, WebP and AVIF.
    workers : int, optional
        1 to 1024 threads; by default one for each CPU that this process may use.
    queue : int, optional
        0 to 65536 finished pictures that may wait for the caller; by default as many as there are workers.
    ordered : bool
        Give results in the order of the sources; False: as they are finished.
    progress : callable, optional
        Called in the caller's thread with the number of results so far, before each is given.

    Yields
    ------
    Outcome
        ``source``, and ``value``: the bytes of the result, or ``error``: why this picture failed. One that fails does
        not stop the others.

    Raises
    ------
    InvalidArgument
        Arguments out of range, at once.
    DeviceUnavailable, ModelUnavailable
        While results are taken: these end the run, for no other picture would be spared.

    Examples
    --------
    >>> import gpublur
    >>> photo = image_io.encode(image_io.Photo(np.zeros((40, 60, 3), np.uint8)))
    >>> for source, data, error in gpublur.process([photo, b"nothing"], gpublur.gaussian_blur, format="WEBP"):
    ...     print(error or image_io.decode(data).format)
    WEBP
    picture: is not a picture that can be read (JPEG, PNG, WEBP, TIFF, AVIF, BMP, GIF)
    """
    if format is not None:
        format = image_io.written(format, alpha=False)
    number("jpeg_quality", jpeg_quality, 1, 100)

    def one(source: Path | str | bytes) -> bytes:
        photo = image_io.decode(Path(source) if isinstance(source, str) else source)
        photo.pixels = work(photo.pixels)
        if not isinstance(photo.pixels, np.ndarray):
            raise InvalidArgument(f"work returned a {type(photo.pixels).__name__}, not an array of pixels")
        return image_io.encode(
            photo, format or image_io.fitting(photo.format, alpha=photo.alpha), jpeg_quality=jpeg_quality
        )

    return overlap(sources, one, workers=workers, queue=queue, ordered=ordered, progress=progress)


def overlap(
    items: Iterable[Any],
    work: Callable[[Any], Any],
    *,
    workers: int | None = None,
    queue: int | None = None,
    ordered: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Outcome]:
    """Do ``work`` on items in threads, the first item alone; see `process`."""
    if workers is None:
        workers = usable_cpus()
    workers = whole("workers", workers, 1, 1024)
    queue = workers if queue is None else whole("queue", queue, 0, 65536)

    def one(item: Any) -> Outcome:
        try:
            return Outcome(item, work(item), None)
        except ENDS_ALL:
            raise
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # they hold the picture, for as long as the error is kept
            return Outcome(item, None, error)

    return _counted(_overlapped(iter(items), one, workers, workers + queue, ordered), progress)


def _overlapped(
    items: Iterator[Any], one: Callable[[Any], Outcome], workers: int, most: int, ordered: bool
) -> Generator[Outcome, None, None]:
    yield from map(one, islice(items, 1))
    pending: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(workers, "gpublur", backends.share, (workers,)) as pool:
        try:
            for item in items:
                pending.append(pool.submit(one, item))
                if len(pending) == most:
                    yield _next(pending, ordered)
            while pending:
                yield _next(pending, ordered)
        finally:  # also where the caller takes no more
            for future in pending:
                future.cancel()


def _next(pending: deque[Future[Outcome]], ordered: bool) -> Outcome:
    """Take the first result of those that are made, waiting for one."""
    if ordered:
        return pending.popleft().result()
    wait(pending, return_when=FIRST_COMPLETED)
    done = next(future for future in pending if future.done())
    pending.remove(done)
    return done.result()


def _counted(outcomes: Generator[Outcome, None, None], progress: Callable[[int], None] | None) -> Iterator[Outcome]:
    with closing(outcomes):  # a generator, whose threads end with it
        for count, outcome in enumerate(outcomes, 1):
            if progress is not None:
                progress(count)
            yield outcome


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Job(NamedTuple):
    """One picture to read and where its result goes; the destination's suffix names the format."""

    source: Path
    destination: Path


class Done(NamedTuple):
    """What became of a job.

    Attributes
    ----------
    job : Job
    info : MaskInfo, optional
        What was found in the picture, where a model or a mask was asked.
    error : str, optional
        Why it failed.
    """

    job: Job
    info: MaskInfo | None = None
    error: str | None = None


def plan(
    inputs: Sequence[Path], output: Path, *, format: str | None = None, alpha: bool = False, overwrite: bool = False
) -> list[Job]:
    """Return the jobs that take ``inputs`` to ``output``, after every check that can be made without reading a picture.

    Parameters
    ----------
    inputs : sequence of Path
        Pictures, and directories of them. Directories are walked: files with a suffix of `image_io.SUFFIXES`, neither
        hidden nor below ``output``; the tree below each directory is kept.
    output : Path
        A file if there is one input file and the name has a picture's suffix; else a directory, made when needed: for
        one input file its name has no suffix, or it is there.
    format : str, optional
        One of `image_io.WRITTEN`. By default that of ``output``'s name where it is a file, else that of each
        input's name, or PNG where that cannot hold the result (a cut-out from a JPEG, anything from a GIF or an unknown
        suffix).
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
        format = image_io.written(format, alpha=alpha)
    one = len(inputs) == 1 and not os.path.isdir(inputs[0])
    if one and output.suffix and output.suffix.lower() not in image_io.SUFFIXES and not os.path.isdir(output):
        known = ", ".join(image_io.SUFFIXES)
        raise InvalidArgument(f"{output}: names no picture format ({known}), and there is no such folder to write to")
    if output.suffix.lower() in image_io.SUFFIXES and not os.path.isdir(output):
        jobs = [_single(inputs, output, format, alpha)]
    else:
        found = (pair for path in inputs for pair in _pictures(path, output))
        jobs = [Job(source, output / _renamed(relative, format, alpha)) for source, relative in found]
    _refuse_collisions(jobs)
    check_destinations([job.destination for job in jobs], overwrite=overwrite)
    return jobs


def masks_for(inputs: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return where the mask of each picture of the inputs is: in ``folder``, as ``gpublur mask`` writes them there."""
    found = (pair for path in inputs for pair in _pictures(path, folder))
    return {source: folder / _renamed(relative, "PNG", False) for source, relative in found}


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
    work: Callable[[Job, Photo], tuple[Photo, MaskInfo | None]],
    *,
    jpeg_quality: int = image_io.JPEG_QUALITY,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Done]:
    """Do the ``jobs``, several at a time, each through ``work``, and return what became of them, in their order.

    The photos that ``work`` is given have the ``format`` that their results are written in. ``progress`` is called with
    the number of jobs that are over.

    Whatever one picture raises ends only that picture, so that a night's work outlives the one nobody foresaw; but
    `DeviceUnavailable` and `ModelUnavailable`, from which no other picture would be spared, end the run.
    """

    def one(job: Job) -> MaskInfo | None:
        photo = replace(image_io.decode(job.source), format=image_io.format_of(job.destination))
        result, info = work(job, photo)
        data = image_io.encode(result, photo.format, jpeg_quality=jpeg_quality)
        image_io.write_file(job.destination, data)
        return info

    return [
        Done(job, info, None if error is None else said(error).removeprefix(f"{job.source}: "))
        for job, info, error in overlap(jobs, one, workers=workers, progress=progress)
    ]


def said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _single(inputs: Sequence[Path], output: Path, format: str | None, alpha: bool) -> Job:
    """Return the job of one input file to one output file."""
    if len(inputs) != 1 or os.path.isdir(inputs[0]):
        raise InvalidArgument(f"{output}: names one picture, but the input is a folder or several files")
    named = image_io.format_of(output)
    image_io.written(named, alpha=alpha)
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
        if file.suffix.lower() in image_io.SUFFIXES and not hidden and not ours and file.is_file():
            empty = False
            yield file, relative
    if empty:
        raise ImageFileError(f"{path}: holds no picture ({', '.join(image_io.SUFFIXES)})")


def _renamed(path: Path, format: str | None, alpha: bool) -> Path:
    """Return ``path`` with the suffix of the format that its result is written in."""
    own = image_io.SUFFIXES.get(path.suffix.lower())
    format = format or image_io.fitting(own, alpha=alpha)
    if own == format:
        return path
    stem = path.name if own is None else path.stem
    return path.with_name(stem + image_io.FORMATS[format].suffixes[0])


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """Raise `InvalidArgument` if two jobs write one file."""
    writers: dict[str, Path] = {}
    for source, destination in jobs:
        key = str(destination).casefold()  # many file systems ignore case
        if key in writers:
            raise InvalidArgument(f"{writers[key]} and {source} would both write {destination}: separate their runs")
        writers[key] = source
