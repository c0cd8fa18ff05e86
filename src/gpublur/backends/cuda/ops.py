"""The operations on CUDA: check, caller's stream, allocate, plan, launch; nothing waits for the GPU.

Buffers come from the pool of the picture's own library (see `gpublur.memory`), one for each operation that needs any.
What of a launch is the same for all pictures of a kind is kept by `launches`; here addresses are added to it. A whole
step is recorded by `programs`, which these operations launch through: `perform`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ... import matting
from ...arrays import Picture
from ...color import decode_table, dtype_name
from ...errors import DeviceUnavailable, InvalidArgument
from ...image_io import jpeg
from ...optics import BORDER, Plan, Spans, Taps
from ...types import BlurSpec
from . import launches, loader, programs, tables
from .launches import Form, Launch
from .structs import (
    ALPHA_SOURCE,
    COLOR_FIELDS,
    GRID,
    HIGHLIGHT_CURVE,
    NEVER,
    NONE,
    PHOTO,
    STEPS,
    TUNED,
    UPSAMPLING,
)

ON_GPU = True


class Source(NamedTuple):
    """A stack of pictures and how its code values become light."""

    photo: NDArray[Any]  # PHOTO
    picture: Picture
    form: Form
    queue: programs.Live | programs.Recorder  # where launches go
    table: Any  # kept alive while kernels may read it


class Matte(NamedTuple):
    """What the matte stage knows: alpha everywhere, and the colours of subject and background around every place."""

    cover: NDArray[Any]  # ALPHA_SOURCE
    fields: NDArray[Any]  # COLOR_FIELDS
    samples: int  # of guided coefficients that a strip lies between, at most
    colours: int  # of both fields
    buffers: Any  # that the two point into


class Frames(NamedTuple):
    """Cells of the low-resolution frame: decimated and, by `separable`, blurred again; in between, or by `spans`."""

    cells: np.uint64  # addresses
    other: np.uint64
    rows: int
    columns: int
    table: tables.Table  # the plan's arrays
    buffer: Any  # that the two lie in


def describe() -> str:
    """Return what the operations run on, or raise `DeviceUnavailable` with the reason why they cannot."""
    usable, reason = loader.status()
    if not usable:
        raise DeviceUnavailable(reason)
    return loader.gpu().describe()


def warmup() -> None:
    """Load or compile every kernel for the current device: then a call only launches."""
    loader.gpu().warmup()


def device_context(picture: Picture, ordinal: int | None) -> AbstractContextManager[Any]:
    """Return a context in which the current device is the picture's, or the one of this ordinal, or the caller's.

    A picture of this machine's memory has a stream of its own there: those of several threads overlap.
    """
    if not picture.memory.on_gpu:
        return host_context(ordinal)
    own = picture.memory.device
    if ordinal not in (None, own):
        raise InvalidArgument(f"image lies on cuda:{own}, which device='cuda:{ordinal}' does not take")
    return loader.gpu().on(own)


def codec_obstacle(ordinal: int | None) -> str:
    """Return why JPEG is not decoded and encoded on the device; nothing where it is. Never raises."""
    try:
        with chosen(ordinal):
            return loader.gpu().codecs.obstacle()
    except Exception as error:  # the device is not there, or has failed: the edit will tell
        return f"the GPU does not answer ({type(error).__name__}: {error})"


@contextmanager
def codec(ordinal: int | None) -> Iterator[jpeg.Codec | None]:
    """Give what decodes and encodes one picture's JPEG on the device, where a stream is the picture's own meanwhile."""
    with host_context(ordinal), loader.gpu().codecs.lent() as lent:
        yield lent


def model_device() -> str:
    """Return where the segmentation model runs, as torch names it: the current device."""
    return f"cuda:{loader.gpu().current()}"


def out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, is that the GPU's memory is full, as CuPy and torch both call it."""
    return error is not None and (type(error).__name__ == "OutOfMemoryError" or out_of_memory(error.__cause__))


def make_room() -> None:
    """Give back what the pools of CuPy and torch keep for later."""
    loader.gpu().free()


def to_device(picture: Picture) -> Picture:
    """Return the picture on the device: itself if it lies there, else a copy on the current one."""
    if picture.memory.on_gpu:
        picture.memory.check_capture()
        return picture
    memory = loader.gpu().memory()
    return Picture(memory.adopt(picture.pixels), picture.planar, memory)


def to_input_device(result: Any, picture: Picture) -> Any:
    """Return a result where the picture that was taken lies; a copy to the host is complete when this returns."""
    return result if picture.memory.on_gpu else loader.gpu().download(result)


def perform(backend: Any, step: Callable[..., Any], picture: Picture, mask: Any, *settings: Any) -> Any:
    """Do a step of `pipeline`: run its program, or where there is more to it than launches, do it as it stands."""
    memory, given, kinds = picture.memory, [picture.pixels], None
    if mask is not None:
        values = memory.contiguous(memory.adopt(mask.values))
        given.append(values)
        kinds = type(mask)(programs.kind(values), mask.refine, mask.on_no_subject)
    program = programs.program(backend, step, programs.kind(picture.pixels), picture.planar, kinds, *settings)
    if program is not None:
        return program.run(memory, *given)
    return step(backend, picture, mask and mask._replace(values=given[1]), *settings)


def empty(picture: Picture, channels: int) -> Any:
    """Allocate a picture of the same size, layout and dtype."""
    return picture.memory.empty(picture.shape(channels), picture.dtype)


def decode(picture: Picture, linear: bool) -> Source:
    """Return the picture and how to decode it, to linear light or to display values."""
    table: tables.Table | None = None  # other types have too many values
    queue = programs.queue(picture.memory)
    if picture.dtype == "uint8":
        table = queue.table(("decode", linear), lambda: {"decode": decode_table(256, linear)})
    return source_with(picture, linear, table, queue)


def shrink(picture: Picture, side: int) -> Any:
    """Return pictures as a network sees them; floats beyond [0, 1] are clipped."""
    source = source_with(picture, False, None, programs.queue(picture.memory))
    out = picture.memory.empty((source.form.pictures, 3, side, side), "float32")
    where, sizes = launches.shrink(source.form, side)
    launch(source, where, source.photo, address(source, out), *sizes)
    return out


def matte(source: Source, mask: Any, refine: bool) -> Matte:
    """Return the matte of pictures.

    Parameters
    ----------
    mask : (h, w) or one for each picture, (n, h, w), uint8, or float32 in [0, 1]; or None
        Of any resolution and any library. None: there is no subject, and no colours are estimated.
    refine : bool
        Fit the mask to the photo's edges (4); otherwise it is taken as it is, resampled.
    """
    if mask is None:
        nothing, nowhere = (0, 0, (0, 0, 0, 0), 1, NONE, 0, 0, 0), (0, 0, (0, 0, 0, 0), NEVER, 0, 0)
        return Matte(np.array(nothing, ALPHA_SOURCE), np.array(nowhere, COLOR_FIELDS), 0, 0, ())
    memory = source.picture.memory
    mask = memory.contiguous(memory.adopt(mask))
    plan = launches.matte(source.form, tuple(mask.shape[-2:]), dtype_name(mask) == "uint8", refine)
    buffer, addresses = memory.scratch(plan.room)
    at = plan.room.named(addresses)
    cover = np.array((memory.address(mask), 0, *plan.mask), ALPHA_SOURCE)
    if plan.guided:
        launch(source, plan.fit, source.photo, cover, plan.sampling, TUNED, at["fits"], at["weights"])
        launch(source, plan.smooth, at["fits"], at["weights"], cover, plan.sampling, TUNED, at["smooth"])
        cover = np.array((0, at["smooth"], *plan.guided), ALPHA_SOURCE)
    fields = colour_fields(source, cover, plan, at)
    if plan.full:
        launch(source, plan.resample, cover, at["plane"], *plan.size)
        cover = np.array((at["plane"], 0, *plan.full), ALPHA_SOURCE)
    return Matte(cover, fields, plan.samples, plan.colours, (mask, buffer))


def alpha(source: Source, matte: Matte, opacity: bool = False) -> Any:
    """Return the matte at every pixel, (height, width) in [0, 1]; with ``opacity`` times the picture's own."""
    picture = source.picture
    out = picture.memory.empty((*picture.shape(1)[: picture.pixels.ndim - 3], *picture.size), "float32")
    launch(source, launches.alpha(source.form), source.photo, matte.cover, address(source, out), np.int32(opacity))
    return out


def highlight_curve(spec: BlurSpec) -> NDArray[Any]:
    """Return (3)'s weight: how it falls with alpha, and the highlight boost."""
    low, high = spec.highlight_threshold
    strength = 10 * (spec.highlights or 0.0)
    hot = hot_codes(low, spec.linear_light) if strength else 0
    return np.array((1 / matting.BACKGROUND_BELOW, low, 1 / (high - low), strength, hot), HIGHLIGHT_CURVE)


def frames(plan: Plan, source: Source) -> Frames:
    """Allocate the low-resolution frame twice, and put the plan's arrays beside it."""
    rows, columns = (n + 2 * BORDER for n in plan.grid)
    table = source.queue.table(plan, lambda: tables.of(plan))
    buffer, (cells, other) = source.picture.memory.scratch(launches.frames(source.form, rows, columns))
    return Frames(cells, other, rows, columns, table, buffer)


def bands(plan: Plan, source: Source) -> Iterator[Source]:
    """Yield the one band that is the whole picture; what stands in for it tells where to work."""
    yield source


def decimate(source: Source, matte: Matte, curve: NDArray[Any], plan: Plan, frames: Frames, band: Source) -> None:
    """Fill the frame with weighted light (3), shrunk by the plan's factors (6)."""
    where, grid = launches.decimate(source.form, plan, matte.samples)
    at = frames.table.at
    cells = np.array((at["down"], at["across"], *grid), GRID)
    launch(source, where, source.photo, matte.cover, curve, cells, frames.cells)


def separable(taps: Taps, plan: Plan, frames: Frames, band: Source) -> None:
    """Blur the frame along its columns into its transpose, twice: in the end it is where it was."""
    weights = np.uint64(frames.table.at["taps"])
    for cells, out, rows, columns in (
        (frames.cells, frames.other, frames.rows, frames.columns),
        (frames.other, frames.cells, frames.columns, frames.rows),
    ):
        where, sizes = launches.separable(band.form, taps, rows, columns)
        launch(band, where, cells, out, weights, *sizes)


def spans(runs: Spans, plan: Plan, frames: Frames, band: Source) -> None:
    """Blur the frame with a flat aperture (7)."""
    where, sizes, fixed = launches.spans(band.form, plan, runs, frames.rows, frames.columns)
    at = frames.table.at
    steps = np.array((at["weight"], at["half"], at["start"], *fixed), STEPS)
    launch(band, where, frames.cells, frames.other, steps, *sizes)


def composite(source: Source, matte: Matte, plan: Plan, frames: Frames, spec: BlurSpec, out: Any, band: Source) -> None:
    """Write the pictures: alpha F + (1 - alpha) B, encoded; the pictures' own values where alpha is 1."""
    cells = frames.cells if isinstance(plan.aperture, Taps) else frames.other
    at = frames.table.at
    upsampling = (0, 0, 0, 0), cells, at["up"], at["beside"], *launches.upsampling(plan)
    put(f"composite_{source.form.kind}", source, matte, upsampling, spec.linear_light, out, spec.dither)


def fill(source: Source, matte: Matte, colour: NDArray[np.float32], out: Any) -> None:
    """Write alpha F + (1 - alpha) colour, blended in linear light; ``colour`` is (3,) linear."""
    put(f"composite_{source.form.dtype}_3_{source.form.pixel}", source, matte, bare((*colour, 0)), True, out)


def cutout(source: Source, matte: Matte, out: Any) -> None:
    """Write F and alpha, straight, into ``out`` of four channels."""
    put(f"cutout_{source.form.dtype}_{source.form.pixel}", source, matte, bare((0, 0, 0, 0)), True, out)


@contextmanager
def host_context(ordinal: int | None) -> Iterator[None]:
    """Return a context with the current device, or the one of this ordinal, and a stream of its own there."""
    with chosen(ordinal), loader.gpu().apart():
        yield


def chosen(ordinal: int | None) -> AbstractContextManager[Any]:
    """Return a context with the device of this ordinal, or with the current one."""
    return nullcontext() if ordinal is None else loader.gpu().on(ordinal)


def source_with(
    picture: Picture, linear: bool, table: tables.Table | None, queue: programs.Live | programs.Recorder
) -> Source:
    """Return the picture with a table of its code values' light, for kernels that need one."""
    form, memory = launches.form(picture), picture.memory
    photo = memory.address(picture.pixels), table.at["decode"] if table else 0, *launches.photo(form, linear)
    return Source(np.array(photo, PHOTO), picture, form, queue, table)


@lru_cache(maxsize=launches.KEPT)
def hot_codes(low: float, linear: bool) -> int:
    """Return what is added to the lower bits of four 8-bit codes, so that those from 128 on above ``low`` carry.

    All bits are set where darker ones may be boosted, too.
    """
    dark = int(np.searchsorted(decode_table(256, linear), low, side="right")) - 1  # the brightest code that is not
    return (255 - dark) * 0x01010101 if dark >= 127 else 0xFFFFFFFF


def colour_fields(source: Source, cover: NDArray[Any], plan: launches.Matte, at: dict[str, np.uint64]) -> NDArray[Any]:
    """Return (5)'s colour fields."""
    sums = at["fine"], at["middle"], at["coarse"]
    launch(source, plan.cells, source.photo, cover, plan.sampling, TUNED, *sums, at["totals"])
    launch(source, plan.pyramid, at["coarse"], at["totals"], at["top"], *plan.coarsest, TUNED)
    launch(source, plan.pull, at["fine"], at["middle"], at["top"], at["colours"], plan.sampling, TUNED)
    return np.array((at["colours"], int(at["colours"]) + plan.back, *plan.fields), COLOR_FIELDS)


def bare(colour: tuple[float, ...]) -> tuple[Any, ...]:
    """Return what UPSAMPLING holds where there is no blur, but a colour."""
    return colour, 0, 0, 0, (1, 0, 0), (1, 0, 0), 0, 0, 0, 0


def put(
    entry: str, source: Source, matte: Matte, upsampling: tuple[Any, ...], linear: bool, out: Any, dither: bool = False
) -> None:
    channels = int(out.shape[-3 if source.form.planar else -1])
    where, encoding, *of_a_warp = launches.put(
        entry, source.form, channels, matte.samples + matte.colours, linear, dither
    )
    blurred = np.array(upsampling, UPSAMPLING)
    launch(source, where, source.photo, matte.cover, matte.fields, blurred, encoding, *of_a_warp, address(source, out))


def launch(source: Source, where: Launch, *args: Any) -> None:
    """Launch a kernel on the caller's stream; the arguments are NumPy's scalars and structs, and go as they are."""
    source.queue.launch(where, args)


def address(source: Source, array: Any) -> np.uint64:
    """Return the address of an array of the picture's kind, as kernels take it."""
    return np.uint64(source.picture.memory.address(array))
