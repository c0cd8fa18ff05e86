"""Many pictures: several at a time, and never more than fit."""

from __future__ import annotations

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from . import backends, image_io
from . import devices as several
from .backends import Device
from .checks import number, whole
from .errors import DeviceUnavailable, InvalidArgument, ModelUnavailable, said
from .files import STREAM, Job, given
from .image_io import Photo
from .image_io.jpeg import Codec
from .image_io.photo import is_array
from .memory import memory_of
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
    lossless: bool | None = None,
    effort: int | None = None,
    workers: int | None = None,
    queue: int | None = None,
    ordered: bool = True,
    devices: Any = None,
    codec: str = "auto",
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
        Pixels are (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16. Of an animation each frame is worked on by itself.
        With a ``codec`` on a GPU they may be CuPy's, and so may the results.
    format : str, optional
        One of `gpublur.image_io.WRITTEN`, in any case; by default each picture's own, or PNG where that cannot hold the
        result.
    jpeg_quality, lossless, effort
        See `gpublur.image_io.encode`.
    workers : int, optional
        1 to 1024 threads; by default one for each CPU that this process may use.
    queue : int, optional
        0 to 65536 finished pictures that may wait for the caller; by default as many as there are workers.
    ordered : bool
        Give results in the order of the sources; False: as they are finished.
    devices : "all" or list of str, optional
        Several devices, such as ``["cuda:0", "cuda:1"]``, or all GPUs: ``work`` is called with ``device=`` as well, as
        an Editor's methods take it, the one with least to do. One that fails is taken out, which the log tells, and its
        pictures are done by the others.
    codec : {"auto", "cpu", "gpu"}
        Where usual JPEG is decoded, and JPEG encoded of what was: ``"gpu"`` on the GPU (``devices``, or the current
        one) by nvImageCodec, whose pixels differ a little from the CPU's. By default there if ``work`` is a method of
        an Editor that works on a GPU, bare or in a `functools.partial`, and the library is there. All other files are
        decoded on the CPU.
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
        While results are taken: these end the run, for no other picture would be spared. Of several devices, when all
        have failed. Of ``codec="gpu"`` without GPU or library at once.

    Examples
    --------
    >>> import gpublur
    >>> import numpy as np
    >>> photo = image_io.encode(image_io.Photo(np.zeros((40, 60, 3), np.uint8)))
    >>> for source, data, error in gpublur.process([photo, b"nothing"], gpublur.gaussian_blur, format="WEBP"):
    ...     print(error or image_io.decode(data).format)
    WEBP
    picture: is not a picture that can be read (JPEG, PNG, WEBP, TIFF, AVIF, BMP, GIF, HEIF)
    """
    number("jpeg_quality", jpeg_quality, 1, 100)
    format = None if format is None else image_io.written(format, alpha=False)
    names = [None] if devices is None else several.chosen(devices)
    encoding = {"jpeg_quality": jpeg_quality, "lossless": lossless, "effort": effort}
    made = several.over(
        lambda source, own, codec: remade(source, own, format, codec=codec, **encoding), work,
        {name: several.coder(work, name, codec) for name in names},
    )  # fmt: skip
    return overlap(sources, made, workers=workers, queue=queue, ordered=ordered, progress=progress)


def remade(
    source: Path | str | bytes, work: Callable[[Any], Any], format: str | None, *, codec: Codec | None = None,
    **encoding: Any,
) -> bytes:  # fmt: skip
    """Return the file that ``work`` makes of a file, frame by frame; see `process`."""
    photo = image_io.decode(Path(source) if isinstance(source, str) else source, codec=codec)
    photo = photo.with_frames([replace(page, pixels=_worked(work, page)) for page in photo.pages()])
    suited = format or image_io.fitting(photo.format, alpha=photo.alpha)
    data = image_io.encode(photo, suited, codec=codec, **encoding)
    image_io.tell(
        (*photo.notes, *image_io.losses(photo, suited)), "picture" if isinstance(source, bytes) else str(source)
    )
    return data


def _worked(work: Callable[[Any], Any], page: Photo) -> Any:
    pixels = work(page.pixels)
    if not is_array(pixels):
        raise InvalidArgument(f"work returned a {type(pixels).__name__}, not an array of pixels")
    return pixels


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
    with ThreadPoolExecutor(workers, "gpublur", backends.share, (workers, backends.current_gpu())) as pool:
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


class Done(NamedTuple):
    """What became of a job.

    Attributes
    ----------
    job : Job
    info : MaskInfo, optional
        What was found in the picture, where a model or a mask was asked.
    error : str, optional
        Why it failed.
    notes : sequence of str
        What of the file is not in its result.
    decoded_on : str, optional
        ``"cpu"``, or the GPU, such as ``"cuda:0"``, that also encoded the result where that is JPEG.
    skipped : bool
        Its result was there already.
    """

    job: Job
    info: MaskInfo | None = None
    error: str | None = None
    notes: Sequence[str] = ()
    decoded_on: str | None = None
    skipped: bool = False


def run(
    jobs: Iterable[Job],
    work: Callable[..., Iterable[tuple[Photo, MaskInfo | None]]],
    *,
    coders: Mapping[str | None, Device | None] = MappingProxyType({None: None}),
    overwrite: bool = True,
    skip_existing: bool = False,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    **encoding: Any,
) -> list[Done]:
    """Do the ``jobs``, several at a time, each through ``work``, and return what became of them, in their order.

    The photos that ``work`` is given, one or the frames of an animation, have the ``format`` that their results are
    written in. ``progress`` is called with the number of jobs that are over. ``encoding`` are options of
    `image_io.encode`. With ``coders`` of devices by their names, ``work`` is called with ``device=`` as well, the one
    with least to do; see `devices.coder`.

    What is written where something is, perhaps since a moment ago, fails unless ``overwrite``; with ``skip_existing``
    it is not even worked on.

    Whatever one picture raises ends only that picture, so that a night's work outlives the one nobody foresaw; but
    `DeviceUnavailable` and `ModelUnavailable`, from which no other picture would be spared, end the run.
    """

    def one(job: Job) -> Done:
        if skip_existing and job.exists():
            return Done(job, skipped=True)
        data, done = made(job)
        if job.destination == STREAM:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            image_io.write_file(job.destination, data, replace=overwrite)
        return done

    made = several.over(
        lambda job, own, codec: finished(job, given(job.source), own, codec=codec, **encoding), work, coders
    )
    return [
        done if error is None else Done(job, error=said(error).removeprefix(f"{job.source}: "))
        for job, done, error in overlap(jobs, one, workers=workers, progress=progress)
    ]


def finished(
    job: Job, source: Path | bytes, work: Callable[[Job, list[Photo]], Iterable[tuple[Photo, MaskInfo | None]]], *,
    codec: Codec | None = None, **encoding: Any,
) -> tuple[bytes, Done]:  # fmt: skip
    """Return the file that ``work`` makes of a job's, and what is told of it; see `run`."""
    photo = image_io.decode(source, codec=codec)
    decoder = memory_of(photo.pixels)
    photo = replace(photo, format=job.format_for(photo))
    pages, infos = zip(*work(job, photo.pages()), strict=True)
    result = photo.with_frames(pages)
    format = photo.format if job.destination != STREAM else image_io.fitting(photo.format, alpha=result.alpha)
    data = image_io.encode(result, format, codec=codec, **encoding)
    where = f"cuda:{decoder.device}" if decoder.on_gpu else "cpu"
    return data, Done(job, least(infos), None, (*photo.notes, *image_io.losses(result, format)), where)


def least(infos: Sequence[MaskInfo | None]) -> MaskInfo | None:
    """Return what was found in the frame with the smallest subject."""
    return min((info for info in infos if info is not None), key=lambda info: info.share, default=None)


def reported(done: Done) -> dict[str, Any]:
    """Return what the report says of a picture."""
    info, wrote = done.info, done.error is None
    return {
        "source": str(done.job.source),
        "output": str(done.job.destination) if wrote else None,
        "found": None if info is None else info.found,
        "share": None if info is None else round(info.share, 4),
        "uncertainty": None if info is None else round(info.uncertainty, 4),
        "decoded_on": done.decoded_on,
        "error": done.error,
    }
