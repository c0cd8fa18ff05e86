"""All blur maths, on the host and in float64: radius -> plan (decimation, taps or spans, upsampling).

A backend only loads, multiplies and adds what stands in a `Plan`. Equation numbers are those of docs/maths.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .checks import MAX_RADIUS
from .errors import InvalidArgument
from .types import BlurSpec

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# Measured against float64 on night photos (docs/maths.md, table to (6)).
GAUSSIAN_RATIO = {"high": 4.0, "fast": 2.0}  # least sigma / factor
DISK_RATIO = {"high": 16.6, "fast": 12.0}  # least R / factor
ROWS_RATIO = {"high": 12.5, "fast": 9.0}  # where only rows are joined, two at a time: half of the error, 3 dB
ROWS_HIGHLIGHTS = 0.5  # to which they are: the rims of brighter lamps would show it
MAX_FACTOR = 16  # coarser grids save nothing any more
SUPPORT = 5.0  # of the gaussian, in sigma: 6e-7 of its weight lies outside; 4 costs 0.3 LSB beside boosted highlights
BORDER = 2  # low-res cells that the upsampling reads beyond the frame


@dataclass(frozen=True, eq=False)
class Taps:
    """One symmetric row of weights, applied along rows and then along columns."""

    weights: Floats  # (2 * reach + 1,), they sum to 1

    @property
    def reach(self) -> tuple[int, int]:
        """Cells that a result is made of, above or below it and beside it."""
        n = len(self.weights) // 2
        return n, n


@dataclass(frozen=True, eq=False)
class Spans:
    """A flat aperture whose rows are intervals: the sum over k of weight[k] * (row dy[k], columns -half[k] .. half[k]).

    A row whose rim covers pixels in part is several nested intervals, so that every pixel has its exact covered area.
    ``dy`` runs from 0 up: the aperture is symmetric, and rows other than 0 count above and below.
    """

    dy: Ints  # (k,)
    half: Ints  # (k,)
    weight: Floats  # (k,), the whole aperture sums to 1

    @property
    def reach(self) -> tuple[int, int]:
        """Cells that a result is made of, above or below it and beside it."""
        return int(self.dy.max()), int(self.half.max())


@dataclass(frozen=True, eq=False)
class Axis:
    """How pixels become cells along one axis, and cells pixels.

    Cell X is the sum over i of ``down[i]`` * pixel[X * factor + first + i]; pixel X * factor + p of the blurred picture
    is the sum over j in 0..3 of ``up[p, j]`` * cell[X + shift[p] + j]. With ``factor`` 1 cells are pixels.
    """

    factor: int
    first: int
    down: Floats  # (2 * factor or one less,)
    shift: Ints  # (factor,)
    up: Floats  # (factor, 4)

    def cells(self, pixels: int) -> int:
        """Return how many cells cover so many pixels; the last may be partial."""
        return -(-pixels // self.factor)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a backend needs to blur one picture of ``height`` x ``width`` pixels."""

    height: int
    width: int
    down: Axis  # along a column of pixels: rows of pixels become rows of cells
    across: Axis  # along a row
    aperture: Taps | Spans

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells that cover the frame; the last of each may be partial."""
        return self.down.cells(self.height), self.across.cells(self.width)


@lru_cache(maxsize=64)
def triangles(length: int, side: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the first pixel of each of ``side`` cells over ``length`` pixels, and its pixels' weights (side, n).

    A triangle two cells wide, or two pixels where these are larger; 0 behind a cell's last pixel, sum 1.
    """
    scale = length / side
    reach = max(scale, 1.0)
    centre = (np.arange(side) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    pixel = first[:, None] + np.arange((last - first).max())
    weight = np.maximum(1 - np.abs(pixel + 0.5 - centre[:, None]) / reach, 0) * (pixel < last[:, None])
    return first, (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def fraction(radius: float | str, height: int, width: int) -> float:
    """Return a radius, a fraction of the diagonal or ``"12px"``, as a fraction of the diagonal.

    Raises
    ------
    InvalidArgument
        It is more than is allowed for a picture of this size.
    """
    if not isinstance(radius, str):
        return radius
    diagonal = math.hypot(width, height)
    part = float(radius.removesuffix("px")) / diagonal
    if part > MAX_RADIUS:
        most = f"{MAX_RADIUS * diagonal:.4g}px, {MAX_RADIUS} of the diagonal"
        raise InvalidArgument(f"radius={radius!r} is more than an image of {width} x {height} pixels takes: {most}")
    return part


def radius_px(radius: float | str, height: int, width: int) -> float:
    """Return (1): ``radius``, as `fraction` takes it, in pixels."""
    part = fraction(radius, height, width)
    return float(radius.removesuffix("px")) if isinstance(radius, str) else part * math.hypot(width, height)


@lru_cache(maxsize=256)
def plan(spec: BlurSpec, height: int, width: int) -> Plan:
    """Return the plan for a checked ``spec`` and a picture of ``height`` x ``width`` pixels."""
    r = radius_px(spec.radius, height, width)
    ratio = (GAUSSIAN_RATIO if spec.mode == "gaussian" else DISK_RATIO).get(spec.quality, math.inf)
    factor = min(max(int(r / ratio), 1), MAX_FACTOR)
    if spec.mode == "gaussian":
        axis = spline_axis(factor)
        # (6): decimation and upsampling are blurs themselves; what they do is left out of the taps.
        own = 0.0 if factor == 1 else variance(tent(factor)[0]) + factor**2 / 3
        return Plan(height, width, axis, axis, gaussian(math.sqrt(r * r - own) / factor))
    across = best_axis(factor)
    plain = (spec.highlights or 0.0) <= ROWS_HIGHLIGHTS
    joined = factor == 1 and plain and r / 2 >= ROWS_RATIO.get(spec.quality, math.inf)
    down = best_axis(2) if joined else across
    frame = down.cells(height) + 2 * BORDER, across.cells(width) + 2 * BORDER
    return Plan(height, width, down, across, disk(r, frame, (down.factor, across.factor)))


def spline_axis(factor: int) -> Axis:
    """Return a gaussian's axis: tent down, cubic B-spline up."""
    down, first = tent(factor)
    shift, t = between(factor)
    return Axis(factor, first, down.astype(np.float32), shift, cubic_spline(t).astype(np.float32))


@lru_cache(maxsize=MAX_FACTOR)
def best_axis(factor: int) -> Axis:
    """Return a disk's axis: tent down, up by what undoes the tent best."""
    down, first = tent(factor)
    shift, _ = between(factor)
    up = best_interpolation(factor, down, first, shift)
    return Axis(factor, first, down.astype(np.float32), shift, up.astype(np.float32))


def gaussian(sigma: float) -> Taps:
    """Return the taps of a gaussian of standard deviation ``sigma`` cells."""
    reach = math.ceil(SUPPORT * sigma)
    x = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (x / sigma) ** 2) if sigma > 0 else np.ones(1)
    return Taps((weights / weights.sum()).astype(np.float32))


def disk(radius: float, frame: tuple[int, int], cell: tuple[int, int] = (1, 1)) -> Spans:
    """Return the spans of a disk of ``radius`` pixels over cells of some pixels' height and width, by covered area.

    Only what reaches from one cell of a frame of so many rows and columns to another is there: memory and time are
    linear in the frame's cells, however thin it is.
    """
    radius = max(radius, 0.5)  # a smaller one lies within its pixel
    cover = disk_cover(radius, frame, cell)
    # Along a row the cover falls with |dx|: it is a sum of centred intervals, one for each place where it falls. The
    # last takes all that would fall beyond the frame. Less than the areas' rounding error is no fall.
    fall = cover - np.pad(cover, ((0, 0), (0, 1)))[:, 1:]
    dy, half = np.nonzero(fall > max(1e-9, 1e-15 * radius**2))
    weight = (fall[dy, half] / (math.pi * radius**2)).astype(np.float32)
    return Spans(dy.astype(np.int32), half.astype(np.int32), weight)


def disk_cover(radius: float, frame: tuple[int, int], cell: tuple[int, int]) -> NDArray[np.float64]:
    """Return the covered area, in pixels, of a disk quadrant's cells: the first rows and columns, or as many as it has.

    ``radius`` is at least half a cell. The area of {0 <= x <= a, 0 <= y <= b} within the disk has a closed form; a cell
    is a difference of four of them.
    """
    down, across = (
        np.minimum(
            np.concatenate([[0.0], np.arange(min(math.ceil(radius / side - 0.5) + 1, most)) + 0.5]) * side, radius
        )
        for most, side in zip(frame, cell, strict=True)
    )
    corner = quadrant_area(across[None, :], down[:, None], radius)
    cover = np.diff(np.diff(corner, axis=0), axis=1)
    cover[0] *= 2  # the cells on the axes are whole, their quadrant's part is half
    cover[:, 0] *= 2
    return np.maximum(cover, 0)


def quadrant_area(a: NDArray[np.float64], b: NDArray[np.float64], r: float) -> NDArray[np.float64]:
    """Return the area of {0 <= x <= a, 0 <= y <= b, x^2 + y^2 <= r^2} for 0 <= a, b <= r."""

    def under(x: NDArray[np.float64]) -> NDArray[np.float64]:  # integral of sqrt(r^2 - x^2) from 0 to x
        return 0.5 * (x * np.sqrt(np.maximum(r * r - x * x, 0)) + r * r * np.arcsin(np.clip(x / r, -1, 1)))

    # Left of the turn the top edge b cuts, right of it the circle.
    turn = np.minimum(a, np.sqrt(np.maximum(r * r - b * b, 0)))
    return turn * b + under(a) - under(turn)


def tent(factor: int) -> tuple[NDArray[np.float64], int]:
    """Return the order-2 spline over the pixels of a cell and its neighbours, and the first pixel's offset.

    Sampled at pixel centres about the cell's centre, it sums to 1 for factors of either parity, and so do the shares of
    one pixel in its cells; no half-pixel shift arises.
    """
    first = -(factor // 2)
    pixels = np.arange(first, factor - first)
    weights = np.maximum(0, 1 - np.abs(pixels - (factor - 1) / 2) / factor) / factor
    return weights[weights > 0], first + int(weights[0] == 0)


def variance(down: NDArray[np.float64]) -> float:
    """Return the variance of symmetric weights that sum to 1, in pixels squared."""
    x = np.arange(len(down)) - (len(down) - 1) / 2
    return float((down * x * x).sum())


def between(factor: int) -> tuple[Ints, NDArray[np.float64]]:
    """Return for each pixel of a cell the first of the 4 cells it is interpolated from, and how far past the second."""
    position = (np.arange(factor) + 0.5) / factor - 0.5  # of the pixel's centre, in cells from the cell's centre
    left = np.floor(position).astype(np.int32)
    return left - 1, position - left


def cubic_spline(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the order-4 (cubic) B-spline's 4 weights at ``t`` (n,) in [0, 1) after the second cell."""
    t = t[:, None]
    return np.hstack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6


def best_interpolation(factor: int, down: NDArray[np.float64], first: int, shift: Ints) -> NDArray[np.float64]:
    """Return the 4 weights of each pixel of a cell that undo ``down``, as far as 4 cells can.

    Of all weights that keep constants and ramps they leave the least mean square error on signals whose power falls
    with the third power of frequency: a photo's falls with the second, and a disk takes more. Such signals have the
    generalised covariance t^2 log t, and the least error is the solution of a linear system (universal kriging,
    Matheron 1973: The intrinsic random functions and their applications).
    """
    taps = first + np.arange(len(down))
    up = np.empty((factor, 4))
    for pixel in range(factor):
        at = (shift[pixel] + np.arange(4))[:, None] * factor + taps - pixel  # (4 cells, taps), from the pixel on
        between_cells = np.einsum("i,j,aibj->ab", down, down, covariance(at[:, :, None, None] - at))
        to_pixel = covariance(at) @ down
        kept = np.stack([np.ones(4), at @ down])  # constants, ramps
        system = np.block([[between_cells, kept.T], [kept, np.zeros((2, 2))]])
        up[pixel] = np.linalg.solve(system, np.concatenate([to_pixel, [1, 0]]))[:4]
    return up


def covariance(t: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return t^2 log |t|, and 0 at 0."""
    distance = np.abs(t).astype(np.float64)
    return distance**2 * np.log(np.maximum(distance, 1))


@lru_cache(maxsize=64)
def boost_table(highlights: float) -> Floats:
    """Return (3)'s boost 2^(10 h t) for 4097 equally spaced t in [0, 1], to be interpolated; one value where h is 0."""
    return (2.0 ** (10 * highlights * np.linspace(0, 1, 4097 if highlights else 1))).astype(np.float32)
