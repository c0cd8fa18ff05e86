"""The operations on CUDA: check, caller's stream, allocate, plan, launch; nothing waits for the GPU.

Buffers come from the pool of the picture's own library (see `gpublur.memory`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ... import matting
from ...arrays import Picture
from ...color import LATTICE, decode_table, dither_height
from ...errors import DeviceUnavailable, InvalidArgument
from ...optics import BORDER, Plan, Spans, Taps
from ...types import BlurSpec
from . import loader, tables
from .structs import (
    ACROSS,
    ALPHA_SOURCE,
    BLOCK,
    CHUNK,
    COLOR_FIELDS,
    COMPOSING,
    COPIES,
    DOWN,
    GRID,
    GROUPS,
    GUIDED,
    HIGHLIGHT_CURVE,
    MASK,
    NEVER,
    NONE,
    OUTPUT_ENCODING,
    PARTS,
    PHOTO,
    PLANES,
    RUN,
    SAMPLING,
    SLOTS,
    STEPS,
    STRIP,
    TILE,
    TUNED,
    UPSAMPLING,
    WARP,
    WARPS,
)
from .tables import CELLS, ROWS

SHARED = loader.DEFAULT_SHARED

ON_GPU, MODEL_DEVICE = True, "cuda"


class Source(NamedTuple):
    """A stack of pictures and how its code values become light."""

    photo: NDArray[Any]  # PHOTO
    picture: Picture
    colours: int
    table: Any  # kept alive while kernels may read it


class Matte(NamedTuple):
    """What the matte stage knows: alpha everywhere, and the colours of subject and background around every place."""

    cover: NDArray[Any]  # ALPHA_SOURCE
    fields: NDArray[Any]  # COLOR_FIELDS
    buffers: tuple[Any, ...]  # that the two point into


class Frames(NamedTuple):
    """Cells of the low-resolution frame: decimated and, by `separable`, blurred again; in between, or by `spans`."""

    cells: Any
    other: Any
    rows: int
    columns: int
    table: tables.Table  # the plan's arrays


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
    """Return a context in which the current device is the picture's, or the one of this ordinal, or the caller's."""
    own = picture.memory.device if picture.memory.on_gpu else None
    if None not in (own, ordinal) and own != ordinal:
        raise InvalidArgument(f"image lies on cuda:{own}, which device='cuda:{ordinal}' does not take")
    wanted = ordinal if own is None else own
    return nullcontext() if wanted is None else loader.gpu().on(wanted)


def to_device(picture: Picture) -> Picture:
    """Return the picture on the device: itself if it lies there, else a copy on the current one."""
    if picture.memory.on_gpu:
        return picture
    memory = loader.gpu().memory()
    return Picture(memory.adopt(picture.pixels), picture.planar, memory)


def to_input_device(result: Any, picture: Picture) -> Any:
    """Return a result where the picture that was taken lies; a copy to the host is complete when this returns."""
    return result if picture.memory.on_gpu else loader.gpu().download(result)


def empty(picture: Picture, channels: int) -> Any:
    """Allocate a picture of the same size, layout and dtype."""
    return picture.memory.empty(picture.shape(channels), picture.dtype)


def decode(picture: Picture, linear: bool) -> Source:
    """Return the picture and how to decode it, to linear light or to display values."""
    table: tables.Table | None = None  # other types have too many values
    if picture.dtype == "uint8":
        table = tables.kept(("decode", linear), picture.memory, lambda: {"decode": decode_table(256, linear)})
    return source_with(picture, linear, table)


def shrink(picture: Picture, side: int) -> Any:
    """Return pictures as a network sees them; floats beyond [0, 1] are clipped."""
    (height, width), count, source = picture.size, picture.count, source_with(picture, False, None)
    out = picture.memory.empty((count, 3, side, side), "float32")
    down, across = height / side, width / side
    # Columns of a block: so many that their pixels, half a triangle on either side included, are one chunk.
    most = min(max(int((CHUNK - 2) / max(across, 1)) - 1, 1), WARP * WARPS)
    run = -(-side // -(-side // most))
    launch(
        source, "shrink", f"shrink_{kind(source)}", (-(-side // run), side, count), (WARP, WARPS), 0,
        source.photo, out, np.int32(side), np.int32(run), np.float32(down), np.float32(across),
    )  # fmt: skip
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
        return Matte(np.array(nothing, ALPHA_SOURCE), np.array(nowhere, COLOR_FIELDS), ())
    memory, size = source.picture.memory, source.picture.size
    mask = memory.contiguous(memory.adopt(mask))
    count, dtype, grid = source.picture.count, source.picture.dtype, matting.sampling(*size)
    sampling = np.array((grid.step, grid.top, grid.left, grid.rows, grid.columns), SAMPLING)
    bytes_, shape = str(mask.dtype).endswith("uint8"), tuple(mask.shape[-2:])
    unit = 1 / 255 if bytes_ else 1
    cover = np.array(
        (memory.address(mask), 0, matting.mask_affine(shape, size), unit, MASK, *shape, bytes_), ALPHA_SOURCE
    )
    buffers: tuple[Any, ...] = (mask,)
    blocks = (-(-grid.columns // ACROSS), -(-grid.rows // DOWN), count)
    if refine:
        fits, smooth = (memory.empty((count, grid.rows, grid.columns, 4), "float32") for _ in range(2))
        weights = memory.empty((count, grid.rows, grid.columns), "float32")
        across, down = (n + 2 * matting.WINDOW for n in (ACROSS, DOWN))
        tile = down * (across * 20 + ACROSS * PLANES * 4)
        launch(
            source, "matte", f"fit_{dtype}", blocks, (ACROSS, DOWN), tile,
            source.photo, cover, sampling, TUNED, fits, weights,
        )  # fmt: skip
        launch(
            source, "matte", "smooth", blocks, (ACROSS, DOWN), 0, fits, weights, cover, sampling, TUNED, smooth
        )  # fmt: skip
        guided = (0, memory.address(smooth), grid.affine(), 1, GUIDED, grid.rows, grid.columns, 0)
        cover, buffers = np.array(guided, ALPHA_SOURCE), (mask, fits, weights, smooth)
    fields, colours = colour_fields(source, cover, grid, sampling)
    if not refine and shape != size:
        plane = memory.empty((count, *size), "float32")
        rows, columns = (np.int32(n) for n in size)
        launch(source, "matte", "resample", over(size, count), (WARP, WARPS), 0, cover, plane, rows, columns)
        full = (memory.address(plane), 0, matting.mask_affine(size, size), 1, MASK, *size, 0)
        cover, buffers = np.array(full, ALPHA_SOURCE), (mask, plane)
    return Matte(cover, fields, (*buffers, colours))


def alpha(source: Source, matte: Matte, opacity: bool = False) -> Any:
    """Return the matte at every pixel, (height, width) in [0, 1]; with ``opacity`` times the picture's own."""
    picture = source.picture
    out = picture.memory.empty((*picture.shape(1)[: picture.pixels.ndim - 3], *picture.size), "float32")
    launch(
        source, "composite", f"alpha_{picture.dtype}", over(picture.size, picture.count), (WARP, WARPS), 0,
        source.photo, matte.cover, out, np.int32(opacity),
    )  # fmt: skip
    return out


def highlight_curve(spec: BlurSpec) -> NDArray[Any]:
    """Return (3)'s weight: how it falls with alpha, and the highlight boost."""
    low, high = spec.highlight_threshold
    return np.array(
        (1 / matting.BACKGROUND_BELOW, low, 1 / (high - low), 10 * (spec.highlights or 0.0)), HIGHLIGHT_CURVE
    )


def frames(plan: Plan, source: Source) -> Frames:
    """Allocate the low-resolution frame twice, and put the plan's arrays beside it."""
    rows, columns = (n + 2 * BORDER for n in plan.grid)
    shape = (source.picture.count, rows, columns, source.colours + 1)
    memory = source.picture.memory
    table = tables.kept(plan, memory, lambda: tables.of(plan))
    return Frames(memory.empty(shape, "float32"), memory.empty(shape, "float32"), rows, columns, table)


def bands(plan: Plan, source: Source) -> Iterator[Source]:
    """Yield the one band that is the whole picture; what stands in for it tells where to work."""
    yield source


def decimate(source: Source, matte: Matte, curve: NDArray[Any], plan: Plan, frames: Frames, band: Source) -> None:
    """Fill the frame with weighted light (3), shrunk by the plan's factors (6)."""
    picture = source.picture
    down, across = plan.down, plan.across
    overlap, slabs = int(down.factor > 1), -(-RUN // down.factor)
    cells = STRIP // across.factor - int(across.factor > 1)
    fixed = 2 * 16 * 8 + (256 * COPIES * 4 if np.dtype(picture.dtype).itemsize == 1 else 0)
    room = (SLOTS + overlap * cells) * 4 * (source.colours + 1) + 16 * samples(matte, STRIP)
    warps = warps_for(WARPS, fixed, room)
    at = frames.table.at
    axes = (
        (weights, axis.factor, axis.first, len(axis.down))
        for weights, axis in ((at["down"], down), (at["across"], across))
    )
    grid = (*axes, *plan.grid, BORDER, slabs, cells)
    blocks = (-(-frames.columns // cells), -(-frames.rows // (warps * slabs - overlap)), picture.count)
    launch(
        source, "decimate", f"decimate_{kind(source)}", blocks, (WARP, warps), fixed + warps * room,
        source.photo, matte.cover, curve, np.array(grid, GRID), frames.cells,
    )  # fmt: skip


def separable(taps: Taps, plan: Plan, frames: Frames, band: Source) -> None:
    """Blur the frame along its columns into its transpose, twice: in the end it is where it was."""
    for cells, out, rows, columns in (
        (frames.cells, frames.other, frames.rows, frames.columns),
        (frames.other, frames.cells, frames.columns, frames.rows),
    ):
        blocks = (-(-columns // WARP), -(-rows // (WARPS * ROWS)), band.picture.count)
        launch(
            band, "separable", f"separable_{band.colours}", blocks, (WARP, WARPS), 0,
            cells, out, np.uint64(frames.table.at["taps"]), np.int32(taps.reach[0]), np.int32(rows), np.int32(columns),
        )  # fmt: skip


def spans(runs: Spans, plan: Plan, frames: Frames, band: Source) -> None:
    """Blur the frame with a flat aperture (7)."""
    at, (above, beside) = frames.table.at, runs.reach
    line = TILE + 2 * beside + 1
    staged = min(GROUPS * TILE // WARP, SHARED // (line * 4 * (band.colours + 1)))
    if staged == 0:
        raise InvalidArgument(
            f"quality='exact' of a {plan.width} x {plan.height} picture is a disk of {beside} pixels, which the "
            "GPU has no room for; take 'high', or device='cpu'"
        )
    steps = np.array((at["weight"], at["half"], at["start"], above, beside, staged), STEPS)
    blocks = (-(-frames.columns // TILE), -(-frames.rows // (ROWS * GROUPS)), band.picture.count)
    launch(
        band, "spans", f"spans_{band.colours}", blocks, (TILE, GROUPS), staged * line * 4 * (band.colours + 1),
        frames.cells, frames.other, steps, np.int32(frames.rows), np.int32(frames.columns),
    )  # fmt: skip


def composite(source: Source, matte: Matte, plan: Plan, frames: Frames, spec: BlurSpec, out: Any, band: Source) -> None:
    """Write the pictures: alpha F + (1 - alpha) B, encoded; the pictures' own values where alpha is 1."""
    cells = source.picture.memory.address(frames.cells if isinstance(plan.aperture, Taps) else frames.other)
    places = ((axis.factor, tables.offset(axis), tables.reciprocal(axis.factor)) for axis in (plan.down, plan.across))
    upsampling = ((0, 0, 0, 0), cells, frames.table.at["up"], frames.table.at["beside"], *places, *plan.grid, BORDER, 0)
    put(f"composite_{kind(source)}", source, matte, upsampling, spec.linear_light, out, spec.dither)


def fill(source: Source, matte: Matte, colour: NDArray[np.float32], out: Any) -> None:
    """Write alpha F + (1 - alpha) colour, blended in linear light; ``colour`` is (3,) linear."""
    pixel = int(source.photo["pixel"])
    put(f"composite_{source.picture.dtype}_3_{pixel}", source, matte, bare((*colour, 0)), True, out)


def cutout(source: Source, matte: Matte, out: Any) -> None:
    """Write F and alpha, straight, into ``out`` of four channels."""
    put(f"cutout_{source.picture.dtype}_{int(source.photo['pixel'])}", source, matte, bare((0, 0, 0, 0)), True, out)


def source_with(picture: Picture, linear: bool, table: tables.Table | None) -> Source:
    """Return the picture with a table of its code values' light, for kernels that need one."""
    height, width = picture.size
    channels, memory = picture.channels, picture.memory
    channel = 0 if channels == 1 else height * width if picture.planar else 1
    photo = (
        memory.address(picture.pixels), table.at["decode"] if table else 0, height * width * channels, channel, height,
        width, 1 if picture.planar else channels, 3 if channels == 4 else -1, linear,
    )  # fmt: skip
    return Source(np.array(photo, PHOTO), picture, 3 if channels > 1 else 1, table)


def colour_fields(
    source: Source, cover: NDArray[Any], grid: matting.Sampling, sampling: NDArray[Any]
) -> tuple[NDArray[Any], Any]:
    """Return (5)'s colour fields, and the buffer they lie in."""
    memory, count = source.picture.memory, source.picture.count
    levels = [(-(-grid.rows // side), -(-grid.columns // side)) for side in (4, 8, 16)]
    sums = [memory.empty((2, count, *level, 4), "float32") for level in levels]
    totals = memory.empty((count, *levels[2], 4), "float32")
    top, colours = (
        memory.empty((2, count, *levels[2], 4), "float32"),
        memory.empty((2, count, *levels[0], 4), "float32"),
    )
    (rows, columns), (height, width) = levels[0], levels[2]
    launch(
        source, "matte", f"cells_{source.picture.dtype}", (width, height, count), (BLOCK, BLOCK), 0,
        source.photo, cover, sampling, TUNED, *sums, totals,
    )  # fmt: skip
    cells = sum(n * m for n, m in halved(height, width))
    launch(
        source, "matte", "pyramid", (1, 1, 2 * count), (1024,), 16 * cells,
        sums[2], totals, top, np.int32(height), np.int32(width), TUNED,
    )  # fmt: skip
    blocks = (-(-columns // BLOCK), -(-rows // BLOCK), 2 * count)
    launch(source, "matte", "pull", blocks, (BLOCK, BLOCK), 0, sums[0], sums[1], top, colours, sampling, TUNED)
    fore = memory.address(colours)
    back = fore + count * rows * columns * 16
    fields = np.array((fore, back, grid.affine(matting.CELL), matting.FILL_BELOW, rows, columns), COLOR_FIELDS)
    return fields, (sums, totals, top, colours)


def halved(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the sizes of a grid and its coarser levels, to a single cell."""
    while (height, width) != (1, 1):
        yield height, width
        height, width = -(-height // 2), -(-width // 2)
    yield 1, 1


def bare(colour: tuple[float, ...]) -> tuple[Any, ...]:
    """Return what UPSAMPLING holds where there is no blur, but a colour."""
    return colour, 0, 0, 0, (1, 0, 0), (1, 0, 0), 0, 0, 0, 0


def put(
    entry: str, source: Source, matte: Matte, upsampling: tuple[Any, ...], linear: bool, out: Any, dither: bool = False
) -> None:
    picture = source.picture
    height, width = picture.size
    channels = int(out.shape[-3 if picture.planar else -1])
    encoding = (
        height * width * channels,
        height * width if picture.planar else 1,
        1 if picture.planar else channels,
        linear,
        dither_height(picture.dtype, dither),
        LATTICE,
    )
    size = np.dtype(picture.dtype).itemsize
    each = 16 * samples(matte, STRIP) + SLOTS * 4 * 4 + 4 * STRIP + segment_bytes(STRIP, size, channels)
    fixed = 16 * PARTS * (1 + CELLS)
    warps = warps_for(COMPOSING, fixed, each)
    blocks = (-(-width // STRIP), -(-height // (warps * RUN)), picture.count)
    launch(
        source, "composite", entry, blocks, (WARP, warps), fixed + warps * each,
        source.photo, matte.cover, matte.fields, np.array(upsampling, UPSAMPLING),
        np.array(encoding, OUTPUT_ENCODING), out,
    )  # fmt: skip


def kind(source: Source) -> str:
    """Return how the entry points name a picture's type, colours and layout."""
    return f"{source.picture.dtype}_{source.colours}_{int(source.photo['pixel'])}"


def over(size: tuple[int, int], count: int) -> tuple[int, int, int]:
    """Return the grid of blocks of WARP x WARPS threads, one for each pixel."""
    return -(-size[1] // WARP), -(-size[0] // WARPS), count


def samples(matte: Matte, n: int) -> int:
    """Return how many samples of guided coefficients n pixels lie between, at most, as line_samples in cover.cuh."""
    return int(np.float32(n) * matte.cover["place"][0]) + 3 if matte.cover["kind"] == GUIDED else 0


def warps_for(most: int, fixed: int, each: int) -> int:
    """Return the warps of a block whose shared memory is ``fixed`` bytes, and ``each`` for every warp."""
    return next((n for n in range(most, 1, -1) if fixed + n * each <= SHARED), 1)


def segment_bytes(n: int, size: int, channels: int) -> int:
    """Return the shared memory of n pixels, wherever they begin, as in pixel.cuh."""
    return ((n * size + 45) // 16 * 16 + 16) * channels


def launch(source: Source, name: str, entry: str, grid: Any, block: Any, shared: int, *args: Any) -> None:
    """Launch a kernel on the caller's stream; arrays of the picture's kind become addresses."""
    memory = source.picture.memory
    flat = [
        a if isinstance(a, (np.generic, np.ndarray)) and a.ndim == 0 else np.uint64(memory.address(a)) for a in args
    ]
    loader.gpu().launch(name, entry, grid, block, tuple(flat), shared, memory.stream())
