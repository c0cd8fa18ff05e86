"""How kernels are launched on one kind of pictures: grids, blocks, shared memory, and all arguments but addresses.

Everything here is a pure function of what it is given, and kept: the next picture of the same kind costs a look-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ... import matting
from ...arrays import Picture
from ...color import LATTICE, dither_height, max_value
from ...errors import InvalidArgument
from ...memory import Room
from ...optics import BORDER, Plan, Spans, Taps
from . import loader, tables
from .structs import (
    ACROSS,
    BLOCK,
    CHUNK,
    COMPOSING,
    COPIES,
    DOWN,
    GROUPS,
    GUIDED,
    LARGE,
    MASK,
    OUTPUT_ENCODING,
    PARTS,
    PLANES,
    RUN,
    SAMPLING,
    SLOTS,
    STRIP,
    TAPS,
    TILE,
    WARP,
    WARPS,
)
from .tables import CELLS, ROWS

SHARED = loader.DEFAULT_SHARED
KEPT = 256  # of each function: for one size, and where that counts one radius, each

kept = lru_cache(maxsize=KEPT)


class Form(NamedTuple):
    """What launches depend on of a stack of pictures."""

    dtype: str
    pictures: int
    height: int
    width: int
    channels: int
    planar: bool

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def colours(self) -> int:
        return 3 if self.channels > 1 else 1

    @property
    def pixel(self) -> int:
        """Values from one pixel to the next."""
        return 1 if self.planar else self.channels

    @property
    def kind(self) -> str:
        """How the entry points name type, colours and layout."""
        return f"{self.dtype}_{self.colours}_{self.pixel}"


class Launch(NamedTuple):
    """Where a kernel is, and how many of its blocks run."""

    source: str
    entry: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int = 0  # bytes, dynamic


class Matte(NamedTuple):
    """The launches of the matte stage, and what their arguments hold.

    Attributes
    ----------
    mask, guided, full : tuple
        What follows the addresses in ALPHA_SOURCE: of the given mask; of the coefficients that were fitted; of the mask
        at the picture's size. Empty where there is no such thing.
    fields : tuple
        What follows them in COLOR_FIELDS.
    back : int
        Bytes from the subject's colours to those of the background.
    samples : int
        Of guided coefficients that a strip lies between, at most.
    colours : int
        Of both colour fields that it lies between, at most.
    room : Room
        The buffers.
    """

    sampling: NDArray[Any]
    size: tuple[np.int32, np.int32]
    coarsest: tuple[np.int32, np.int32]
    mask: tuple[Any, ...]
    guided: tuple[Any, ...]
    full: tuple[Any, ...]
    fields: tuple[Any, ...]
    back: int
    samples: int
    colours: int
    room: Room
    fit: Launch
    smooth: Launch
    cells: Launch
    pyramid: Launch
    pull: Launch
    resample: Launch


def form(picture: Picture) -> Form:
    """Return the form of a picture."""
    return Form(picture.dtype, picture.count, *picture.size, picture.channels, picture.planar)


@kept
def photo(form: Form, linear: bool) -> tuple[int, ...]:
    """Return what follows the addresses in PHOTO."""
    pixels = form.height * form.width
    channel = 0 if form.channels == 1 else pixels if form.planar else 1
    opacity = 3 if form.channels == 4 else -1
    return pixels * form.channels, channel, *form.size, form.pixel, opacity, linear


@kept
def shrink(form: Form, side: int) -> tuple[Launch, tuple[np.generic, ...]]:
    """Return the launch, and what follows the result."""
    down, across = form.height / side, form.width / side
    # Columns of a block: so many that their pixels, half a triangle on either side included, are one chunk.
    most = min(max(int((CHUNK - 2) / max(across, 1)) - 1, 1), WARP * WARPS)
    run = -(-side // -(-side // most))
    launch = Launch("shrink", f"shrink_{form.kind}", (-(-side // run), side, form.pictures), (WARP, WARPS))
    return launch, (np.int32(side), np.int32(run), np.float32(down), np.float32(across))


@kept
def matte(form: Form, shape: tuple[int, int], bytes_: bool, refine: bool) -> Matte:
    """Return the launches for a mask of a shape, of bytes or of floats, that is or is not fitted."""
    grid, count, size = matting.sampling(*form.size), form.pictures, form.size
    levels = [(-(-grid.rows // side), -(-grid.columns // side)) for side in (4, 8, 16)]
    (rows, columns), _, coarsest = levels
    fine, middle, coarse = (2 * count * n * m * 4 for n, m in levels)
    buffers = {"fine": fine, "middle": middle, "coarse": coarse, "totals": coarse // 2, "top": coarse, "colours": fine}
    full = not refine and shape != size
    if refine:
        samples = count * grid.rows * grid.columns
        buffers |= {"fits": 4 * samples, "smooth": 4 * samples, "weights": samples}
    if full:
        buffers["plane"] = count * size[0] * size[1]
    over_samples = -(-grid.columns // ACROSS), -(-grid.rows // DOWN), count
    across, down = (n + 2 * matting.WINDOW for n in (ACROSS, DOWN))
    tile = down * (across * 20 + ACROSS * PLANES * 4)
    pyramid = 16 * sum(n * m for n, m in halved(*coarsest))
    return Matte(
        sampling=np.array((grid.step, grid.top, grid.left, grid.rows, grid.columns), SAMPLING),
        size=(np.int32(size[0]), np.int32(size[1])),
        coarsest=(np.int32(coarsest[0]), np.int32(coarsest[1])),
        mask=(placed(matting.mask_affine(shape, size)), 1 / 255 if bytes_ else 1, MASK, *shape, bytes_),
        guided=(placed(grid.affine()), 1, GUIDED, grid.rows, grid.columns, 0) if refine else (),
        full=(placed(matting.mask_affine(size, size)), 1, MASK, *size, 0) if full else (),
        fields=(placed(grid.affine(matting.CELL)), matting.FILL_BELOW, rows, columns),
        back=fine // 2 * 4,
        samples=samples_of(STRIP, grid.affine()) if refine else 0,
        colours=2 * samples_of(STRIP, grid.affine(matting.CELL)),
        room=Room.of(buffers),
        fit=Launch("matte", f"fit_{form.dtype}", over_samples, (ACROSS, DOWN), tile),
        smooth=Launch("matte", "smooth", over_samples, (ACROSS, DOWN)),
        cells=Launch("matte", f"cells_{form.dtype}", (coarsest[1], coarsest[0], count), (BLOCK, BLOCK)),
        pyramid=Launch("matte", "pyramid", (1, 1, 2 * count), (1024,), pyramid),
        pull=Launch("matte", "pull", (-(-columns // BLOCK), -(-rows // BLOCK), 2 * count), (BLOCK, BLOCK)),
        resample=over("matte", "resample", form),
    )


@kept
def alpha(form: Form) -> Launch:
    """Return the launch."""
    return over("composite", f"alpha_{form.dtype}", form)


@kept
def frames(form: Form, rows: int, columns: int) -> Room:
    """Return the room of two frames of cells."""
    floats = form.pictures * rows * columns * (form.colours + 1)
    return Room.of({"cells": floats, "other": floats})


@kept
def decimate(form: Form, plan: Plan, samples: int) -> tuple[Launch, tuple[Any, ...]]:
    """Return the launch, and what follows the addresses in GRID."""
    overlap, slabs = int(plan.down.factor > 1), -(-RUN // plan.down.factor)
    cells = STRIP // plan.across.factor - int(plan.across.factor > 1)
    fixed = 2 * 16 * 8
    table = 256 * COPIES * 4 if np.dtype(form.dtype).itemsize == 1 else 0  # static
    room = (SLOTS + overlap * cells) * 4 * (form.colours + 1) + 16 * samples
    warps = warps_for(WARPS, fixed + table, room)
    rows, columns = (n + 2 * BORDER for n in plan.grid)
    blocks = (-(-columns // cells), -(-rows // (warps * slabs - overlap)), form.pictures)
    launch = Launch("decimate", f"decimate_{form.kind}", blocks, (WARP, warps), fixed + warps * room)
    axes = ((axis.factor, axis.first, len(axis.down)) for axis in (plan.down, plan.across))
    return launch, (*axes, *plan.grid, BORDER, slabs, cells)


@kept
def separable(form: Form, taps: Taps, rows: int, columns: int) -> tuple[Launch, tuple[np.int32, ...]]:
    """Return the launch along the columns of a frame, and what follows the address of the taps."""
    blocks = (-(-columns // WARP), -(-rows // (WARPS * ROWS)), form.pictures)
    launch = Launch("separable", f"separable_{form.colours}", blocks, (WARP, WARPS))
    return launch, (np.int32(taps.reach[0]), np.int32(rows), np.int32(columns))


@kept
def spans(
    form: Form, plan: Plan, runs: Spans, rows: int, columns: int
) -> tuple[Launch, tuple[np.int32, ...], tuple[int, ...]]:
    """Return the launch, the sizes that are its last arguments, and what follows the addresses in STEPS."""
    above, beside = runs.reach
    line = TILE + 2 * beside + 1
    staged = min(GROUPS * TILE // WARP, SHARED // (line * 4 * (form.colours + 1)))
    if staged == 0:
        raise InvalidArgument(
            f"quality='exact' of a {plan.width} x {plan.height} picture is a disk of {beside} pixels, which the "
            "GPU has no room for; take 'high', or device='cpu'"
        )
    blocks = (-(-columns // TILE), -(-rows // (ROWS * GROUPS)), form.pictures)
    launch = Launch("spans", f"spans_{form.colours}", blocks, (TILE, GROUPS), staged * line * 4 * (form.colours + 1))
    return launch, (np.int32(rows), np.int32(columns)), (above, beside, staged)


@kept
def upsampling(plan: Plan) -> tuple[Any, ...]:
    """Return what follows the addresses in UPSAMPLING."""
    places = ((axis.factor, tables.offset(axis), tables.reciprocal(axis.factor)) for axis in (plan.down, plan.across))
    return *places, *plan.grid, BORDER, 0


@kept
def put(
    entry: str, form: Form, channels: int, samples: int, linear: bool, dither: bool
) -> tuple[Launch, NDArray[Any], np.int32, np.int32]:
    """Return the launch that writes a result of so many channels, OUTPUT_ENCODING, and a warp's rows and bytes."""
    pixels = form.height * form.width
    encoding = (
        pixels * channels,
        pixels if form.planar else 1,
        1 if form.planar else channels,
        linear,
        max_value(form.dtype) * dither_height(form.dtype, dither),
        LATTICE,
    )
    most = 4 if form.pixel == 1 else channels
    size, planes = np.dtype(form.dtype).itemsize, 4
    each = 16 * samples + SLOTS * 4 * planes + 4 * STRIP + segment_bytes(STRIP, size, most)
    fixed = 16 * PARTS * (TAPS + CELLS)
    warps = warps_for(COMPOSING, fixed, each)
    rows = RUN if pixels * form.pictures < LARGE else 2 * RUN
    blocks = (-(-form.width // STRIP), -(-form.height // (warps * rows)), form.pictures)
    launch = Launch("composite", entry, blocks, (WARP, warps), fixed + warps * each)
    return launch, np.array(encoding, OUTPUT_ENCODING), np.int32(rows), np.int32(each)


def placed(affine: NDArray[np.float32]) -> tuple[float, ...]:
    """Return an affine map as a struct is made of it: of an array within a tuple NumPy takes ten times as long."""
    return tuple(affine.tolist())


def over(source: str, entry: str, form: Form) -> Launch:
    """Return the launch of a kernel with a thread for each pixel, in blocks of WARP x WARPS."""
    blocks = -(-form.width // WARP), -(-form.height // WARPS), form.pictures
    return Launch(source, entry, blocks, (WARP, WARPS))


def halved(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the sizes of a grid and its coarser levels, to a single cell."""
    while (height, width) != (1, 1):
        yield height, width
        height, width = -(-height // 2), -(-width // 2)
    yield 1, 1


def samples_of(n: int, affine: NDArray[np.float32]) -> int:
    """Return how many samples of a grid n pixels lie between, at most, as line_samples in cover.cuh."""
    return int(np.float32(n) * affine[0]) + 3


def warps_for(most: int, fixed: int, each: int) -> int:
    """Return the warps of a block whose shared memory is ``fixed`` bytes, and ``each`` for every warp."""
    return next((n for n in range(most, 1, -1) if fixed + n * each <= SHARED), 1)


def segment_bytes(n: int, size: int, channels: int) -> int:
    """Return the shared memory of n pixels, wherever they begin, as in pixel.cuh."""
    return ((n * size + 45) // 16 * 16 + 16) * channels
