"""The operations on the CPU, in Numba: check, allocate, plan bands, run the loops.

The work goes through the picture in bands of rows, so that what stands between photo and result stays in the cache and
the memory needed does not grow with the radius; each row is decoded once for the blur and once for the composite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from ... import matting, optics
from ...arrays import Picture
from ...color import ENCODE, LATTICE, decode_table, dither_height, max_value
from ...optics import BORDER, Plan, Spans, Taps
from ...types import BlurSpec
from . import loops
from .matte import coefficients, colour_fields, resample, surroundings

ON_GPU = False
BAND_BYTES = 8 << 20  # of frames, for each thread
FILL_BELOW = np.float32(matting.FILL_BELOW)
STEEP = np.float32(1 / matting.BACKGROUND_BELOW)
NO_CELLS = np.zeros((0, 1, 1), np.float32)
DTYPES = {1: np.uint8, 2: np.uint16, 4: np.float32}  # of pictures and masks, by the size of a value
NOWHERE = np.zeros(4, np.float32)
NO_CELLS_UP = loops.Interpolation(1, np.zeros(1, np.int32), np.zeros((1, 4), np.float32))


class Matte(NamedTuple):
    """What the matte stage knows: alpha everywhere, and the colours of subject and background around every place."""

    cover: loops.AlphaSource
    fields: loops.ColorFields


@dataclass(frozen=True)
class Band:
    """Rows of one pass: cells to decimate, cells to blur, pixels to write; each a half-open interval."""

    fresh: tuple[int, int]
    soft: tuple[int, int]
    pixels: tuple[int, int]


class Frames(NamedTuple):
    """The cells of a band (rows, planes, columns): weighted light, and its blur; with zero margins left and right.

    ``kinds`` (rows, blocks of columns) tells where the cells' weights are all alike.
    """

    cells: NDArray[np.float32]
    soft: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    margin: int


def describe() -> str:
    """Return what the operations run on."""
    return f"Numba {numba.__version__}, {numba.get_num_threads()} threads"


def warmup() -> None:
    """Do nothing: Numba compiles at first use, whatever the picture, what is used first."""


def device_context(picture: Picture, ordinal: int | None) -> AbstractContextManager[Any]:
    """Return what a caller holds while the threads work for it: nothing, they serve several callers at once."""
    return nullcontext()


def codec_obstacle(ordinal: int | None) -> str:
    """Return why JPEG needs no codec of the device."""
    return "the CPU has the codecs of image_io"


def codec(ordinal: int | None) -> AbstractContextManager[None]:
    """Return a context with none."""
    return nullcontext()


def model_device() -> str:
    """Return where the segmentation model runs, as torch names it."""
    return "cpu"


def out_of_memory(error: BaseException | None) -> bool:
    """Return False: what this machine's memory has no room for raises its own error."""
    return False


def make_room() -> None:
    """Do nothing: nothing is kept."""


def to_device(picture: Picture) -> Picture:
    """Return the picture, which lies where the threads work."""
    return picture


def to_input_device(result: NDArray[Any], picture: Picture) -> NDArray[Any]:
    """Return a result, which lies where its picture does."""
    return result


def perform(backend: Any, step: Callable[..., Any], picture: Picture, mask: Any, *settings: Any) -> Any:
    """Do a step of `pipeline`."""
    return step(backend, picture, mask, *settings)


def empty(picture: Picture, channels: int) -> NDArray[Any]:
    """Allocate a picture of the same size, layout and dtype."""
    return np.empty(picture.shape(channels), picture.pixels.dtype)


def decode(picture: Picture, linear: bool) -> loops.Source:
    """Return the picture with the table that decodes it, to linear light or to display values."""
    top = max_value(picture.dtype)
    levels = top + 1 if top > 1 else 65536
    return loops.Source(
        memory(picture.pixels, picture.planar),
        *picture.size,
        decode_table(levels, linear),
        np.float32(1 / top),
        picture.channels,
        3 if picture.channels > 1 else 1,
        3 if picture.channels == 4 else -1,
    )


def shrink(picture: Picture, side: int) -> NDArray[np.float32]:
    """Return a picture as a network sees it, in squares of (1, 3, side, side)."""
    source, (height, width) = decode(picture, False), picture.size
    out = np.empty((3, side, side), np.float32)
    rows, columns = optics.triangles(height, side), optics.triangles(width, side)
    loops.shrink(source, rows[0], rows[1] * source.scale, *columns, out)
    if source.colours == 1:
        out[1:] = out[0]
    return out[None]


def matte(source: loops.Source, mask: NDArray[Any] | None, refine: bool) -> Matte:
    """Return the matte of a picture.

    Parameters
    ----------
    mask : (h, w) uint8, or float32 in [0, 1], or None
        Of any resolution. None: there is no subject, and no colours are estimated.
    refine : bool
        Fit the mask to the photo's edges (4); otherwise it is taken as it is, resampled.
    """
    colours = source.colours
    if mask is None:
        return Matte(
            cover(np.zeros((1, 1), np.uint8), np.float32(1))._replace(given=False),
            loops.ColorFields(np.zeros((1, 1, 2 * colours), np.float32), NOWHERE, FILL_BELOW),
        )
    pixels, height, width = values(source), source.height, source.width
    grid, to_mask = matting.sampling(height, width), matting.mask_affine(mask.shape, (height, width))
    rows, columns = np.arange(grid.top, height, grid.step), np.arange(grid.left, width, grid.step)
    samples = pixels[grid.top :: grid.step, grid.left :: grid.step]
    unit = np.float32(1 / max_value(mask.dtype))
    rows, columns = to_mask[2] * rows + to_mask[3], to_mask[0] * columns + to_mask[1]
    alpha = resample(mask, rows, columns)
    if refine:
        down, across = to_mask[2] * grid.step, to_mask[0] * grid.step
        around = surroundings(mask, alpha, rows, columns, down, across) * unit
    alpha *= unit
    shown = samples[..., :colours] * source.scale
    covered = cover(mask, unit)
    if refine:
        guide = np.broadcast_to(shown, (*shown.shape[:2], 3)).astype(np.float32)
        linear = coefficients(guide, alpha, around)
        alpha = np.clip((linear[..., :3] * guide).sum(-1) + linear[..., 3], 0, 1)
        covered = evaluated(loops.guide, (height, width), source, linear, grid.affine())
    elif mask.shape != (height, width):
        covered = evaluated(loops.stretch, (height, width), covered, to_mask)
    codes = samples[..., :colours] if source.scale < 1 else np.clip(samples[..., :colours], 0, 1) * 65535 + 0.5
    opacity = samples[..., source.opacity] * source.scale if source.opacity >= 0 else np.float32(1)
    fields = colour_fields(source.table[codes.astype(np.uint16)], alpha, opacity)
    return Matte(covered, loops.ColorFields(fields, grid.affine(matting.CELL), FILL_BELOW))


def alpha(source: loops.Source, matte: Matte, opacity: bool = False) -> NDArray[np.float32]:
    """Return the matte at every pixel, (height, width) in [0, 1]; with ``opacity`` times the picture's own."""
    cover = matte.cover
    if not cover.given:
        return np.zeros((source.height, source.width), np.float32)
    out: NDArray[np.float32] = cover.pixels.lines.view(DTYPES[cover.pixels.size]) * cover.unit
    if opacity:
        out *= values(source)[..., source.opacity] * source.scale
    return out


def highlight_curve(spec: BlurSpec) -> loops.HighlightCurve:
    """Return the table of the highlight boost."""
    low, high = spec.highlight_threshold
    return loops.HighlightCurve(
        STEEP, optics.boost_table(spec.highlights or 0.0), np.float32(low), np.float32(1 / (high - low))
    )


def frames(plan: Plan, source: loops.Source) -> Frames:
    """Allocate what one band needs."""
    colours = source.colours
    rows, (above, beside) = band_rows(plan, colours), plan.aperture.reach
    margin = beside + BORDER + 1
    height, width = plan.grid
    columns = width + 2 * margin
    all_rows = height + 2 * BORDER
    cells = min(all_rows, rows + 2 * above + 2 * BORDER + 1)
    soft = min(all_rows, rows + 2 * BORDER + 1)
    return Frames(
        np.zeros((cells, colours + 1, columns), np.float32),
        np.zeros((soft, colours + 1, columns), np.float32),
        np.zeros((cells, -(-columns // loops.BLOCK)), np.uint8),
        margin,
    )


def bands(plan: Plan, source: loops.Source) -> Iterator[Band]:
    """Yield the bands of a picture from top to bottom; each begins where the one before ended."""
    rows, reach = band_rows(plan, source.colours), plan.aperture.reach[0]
    height = plan.grid[0]
    fresh = soft = -BORDER
    for top in range(0, height, rows):
        end = min(top + rows, height)
        soft_end = end + BORDER
        fresh_end = max(fresh, min(soft_end + reach, height + BORDER))
        yield Band(
            (fresh, fresh_end), (soft, soft_end), (top * plan.down.factor, min(end * plan.down.factor, plan.height))
        )
        fresh, soft = fresh_end, soft_end


def decimate(
    source: loops.Source, matte: Matte, curve: loops.HighlightCurve, plan: Plan, frames: Frames, band: Band
) -> None:
    """Fill the band's fresh rows of cells with weighted light (3), shrunk by the plan's factors (6)."""
    down, across = (loops.Decimation(axis.factor, axis.first, axis.down) for axis in (plan.down, plan.across))
    loops.decimate(source, matte.cover, curve, down, across, frames.cells, frames.margin, *band.fresh)


def separable(taps: Taps, plan: Plan, frames: Frames, band: Band) -> None:
    """Blur the band's cells along rows, in place, and then along columns into its soft rows."""
    loops.along_rows(frames.cells, taps.weights, *band.fresh)
    loops.along_columns(
        frames.cells, taps.weights, frames.soft, frames.margin, -BORDER, plan.grid[0] + BORDER, *band.soft
    )


def spans(runs: Spans, plan: Plan, frames: Frames, band: Band) -> None:
    """Blur the band's cells with a flat aperture (7): row prefix sums in place, then spans into its soft rows."""
    loops.prefix_rows(frames.cells, frames.kinds, *band.fresh)
    loops.span_rows(
        frames.cells, frames.kinds, runs.dy, runs.half, runs.weight, *runs.reach, frames.soft, frames.margin, -BORDER,
        plan.grid[0] + BORDER, *band.soft,
    )  # fmt: skip


def composite(
    source: loops.Source, matte: Matte, plan: Plan, frames: Frames, spec: BlurSpec, out: NDArray[Any], band: Band
) -> None:
    """Write the band's pixels: alpha F + (1 - alpha) B, encoded; the picture's own values where alpha is 1."""
    down, across = (loops.Interpolation(axis.factor, axis.shift, axis.up) for axis in (plan.down, plan.across))
    none = np.zeros(source.colours, np.float32)
    loops.composite(
        source, matte.cover, matte.fields, frames.soft, frames.margin, down, across, none,
        output_encoding(out.dtype, spec.linear_light, spec.dither), memory(out, source.pixels.jump > 0), *band.pixels,
    )  # fmt: skip


def fill(source: loops.Source, matte: Matte, colour: NDArray[np.float32], out: NDArray[Any]) -> None:
    """Write alpha F + (1 - alpha) colour, blended in linear light; ``colour`` is (colours,) linear."""
    loops.composite(
        source, matte.cover, matte.fields, NO_CELLS, 0, NO_CELLS_UP, NO_CELLS_UP, colour,
        output_encoding(out.dtype, True), memory(out, source.pixels.jump > 0), 0, source.height,
    )  # fmt: skip


def cutout(source: loops.Source, matte: Matte, out: NDArray[Any]) -> None:
    """Write F and alpha, straight, into ``out`` with one more channel than colours."""
    loops.cutout(
        source, matte.cover, matte.fields, output_encoding(out.dtype, True), memory(out, source.pixels.jump > 0)
    )


def memory(pixels: NDArray[Any], planar: bool) -> loops.Pixels:
    """Return the memory of a contiguous picture as the loops take it."""
    size, (height, width, channels) = pixels.itemsize, pixels.shape
    if planar:
        channels, height, width = pixels.shape
        return loops.Pixels(lines(pixels.reshape(channels * height, width)), size, 1, 0, height)
    return loops.Pixels(lines(pixels.reshape(height, width * channels)), size, channels, 1, 0)


def lines(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a view of the bytes of a contiguous (rows, values)."""
    return plane.view(np.uint8)


def values(source: loops.Source) -> NDArray[Any]:
    """Return a view of a picture's values, (height, width, channels)."""
    pixels = source.pixels.lines.view(DTYPES[source.pixels.size])
    if source.pixels.jump:
        return np.moveaxis(pixels.reshape(-1, source.height, source.width), 0, 2)
    return pixels.reshape(source.height, source.width, -1)


def output_encoding(dtype: np.dtype[Any], linear: bool, dither: bool = False) -> loops.OutputEncoding:
    """Return how display values are stored as ``dtype``: integers are rounded."""
    most, half = np.float32(max_value(dtype)), np.float32(0.5 if dtype.kind == "u" else 0)
    return loops.OutputEncoding(linear, ENCODE, most, half, dither_height(dtype, dither), LATTICE)


def evaluated(loop: Any, size: tuple[int, int], *args: Any) -> loops.AlphaSource:
    """Return the matte at every pixel of a picture, as a loop writes it: it is needed twice, and costs to evaluate."""
    out = np.empty(size, np.uint16)
    loop(*args, out)
    return cover(out, 1 / loops.FULL)


def cover(mask: NDArray[Any], unit: np.float32) -> loops.AlphaSource:
    """Return a mask of a picture's size as the loops take it; one that cannot be written, for one type of all."""
    seen = lines(np.ascontiguousarray(mask))
    seen.flags.writeable = False
    return loops.AlphaSource(True, loops.Pixels(seen, mask.itemsize, 1, 0, 0), unit)


def band_rows(plan: Plan, colours: int) -> int:
    """Return the rows of cells in a band: as many as fit BAND_BYTES, never fewer than 32."""
    above, beside = plan.aperture.reach
    columns = plan.grid[1] + 2 * (beside + BORDER + 1)
    fit = BAND_BYTES * numba.get_num_threads() // (4 * (colours + 1) * columns)
    return max(32, (fit - 2 * above - 4 * BORDER - 2) // 2)
