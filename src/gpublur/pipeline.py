"""Many pictures at once: while one is decoded, others are blurred and encoded, and never more of them than fit."""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import backends, codec
from .edit import DeviceUnavailable, InvalidArgument, ModelUnavailable, number

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
    quality: int = codec.QUALITY,
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
        One of `gpublur.codec.WRITTEN`, in any case; by default each picture's own, or PNG where that cannot hold the
        result.
    quality : int
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
    >>> photo = codec.encode(codec.Photo(np.zeros((40, 60, 3), np.uint8)))
    >>> for source, data, error in gpublur.process([photo, b"nothing"], gpublur.gaussian_blur, format="WEBP"):
    ...     print(error or codec.decode(data).format)
    WEBP
    picture: is not a picture that can be read (JPEG, PNG, WEBP, TIFF, AVIF, BMP, GIF)
    """
    if format is not None:
        format = codec.written(format, alpha=False)
    number("quality", quality, 1, 100)

    def one(source: Path | str | bytes) -> bytes:
        photo = codec.decode(Path(source) if isinstance(source, str) else source)
        photo.pixels = work(photo.pixels)
        if not isinstance(photo.pixels, np.ndarray):
            raise InvalidArgument(f"work returned a {type(photo.pixels).__name__}, not an array of pixels")
        return codec.encode(photo, format or codec.fitting(photo.format, alpha=photo.alpha), quality=quality)

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


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number in [low, high]; else raise `InvalidArgument`."""
    if number(name, value, low, high) != int(value):
        raise InvalidArgument(f"{name}={value!r} is not a whole number from {low} to {high}")
    return int(value)
