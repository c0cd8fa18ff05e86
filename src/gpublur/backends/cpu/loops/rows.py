"""Rows of a picture and of its matte, whatever the dtype: code values in, float32 out, and back.

Only what stands here knows dtypes: a picture comes as lines of bytes, and the size of a value tells in each line what
they are. So every other loop is compiled once, and for all pictures.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from .compiled import helper

ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
FIRST = np.int64(0)  # a plain 0 is a type of its own, for which Numba would compile what is called with it once more


class Pixels(NamedTuple):
    """A picture's memory: value (y, x, c) is number x * step + c * gap of line y + c * jump."""

    lines: NDArray  # (rows, bytes) uint8
    size: int  # bytes of a value: 1 uint8, 2 uint16, 4 float32
    step: int
    gap: int  # 1, planar 0
    jump: int  # 0, planar the picture's height


class Source(NamedTuple):
    """A picture and how its code values become light."""

    pixels: Pixels
    height: int
    width: int
    table: NDArray  # (levels,) float32: light of each code value
    scale: np.float32  # value * scale = display value in [0, 1]
    channels: int  # 1, 3 or 4
    colours: int  # 1 or 3
    opacity: int  # index of the picture's own alpha channel, or -1


class AlphaSource(NamedTuple):
    """A matte: a mask of the picture's size, or nothing."""

    given: bool
    pixels: Pixels  # of one channel
    unit: np.float32  # mask * unit is in [0, 1]


class OutputEncoding(NamedTuple):
    """How light is written: encoded as sRGB or not, dithered, times ``scale`` plus ``half``, cut to the dtype."""

    encode: bool
    curve: NDArray  # (7,) float32: the encoder's polynomial
    scale: np.float32
    half: np.float32
    dither: np.float32  # (8): its height in display values, 0 for none
    lattice: NDArray  # (2,) uint32: how far its wave goes in a row, and in a column


def code(value):
    """Return the row of the decoding table for a value: integers themselves, floats in 65536 steps."""
    raise NotImplementedError("compiled only")


@overload(code)
def code_of(value):
    if isinstance(value, types.Integer):
        return lambda value: value
    return lambda value: np.uint16(min(max(value, ZERO), ONE) * np.float32(65535) + HALF)


def stored(value, out):
    """Return a value for an array like ``out``; to integers by way of int32, for which processors have vectors."""
    raise NotImplementedError("compiled only")


@overload(stored)
def stored_as(value, out):
    if isinstance(out.dtype, types.Integer):
        return lambda value, out: np.int32(value)
    return lambda value, out: value


@helper
def decode(light, y, x0, c, out):
    """Write the light of channel ``c`` of the pixels from (y, x0) on into out (n,)."""
    pixels, table = light.pixels, light.table
    line, first = pixels.lines[y + c * pixels.jump], x0 * pixels.step + c * pixels.gap
    if pixels.size == 1:
        look_up(line, first, pixels.step, table, out)
    elif pixels.size == 2:
        look_up(line.view(np.uint16), first, pixels.step, table, out)
    else:
        look_up(line.view(np.float32), first, pixels.step, table, out)


@helper
def look_up(values, first, step, table, out):
    values = values[first::step]
    for x in range(out.shape[0]):
        out[x] = table[code(values[x])]


@helper
def display(light, y, x0, c, out):
    """Write the display values of channel ``c`` of the pixels from (y, x0) on into out (n,)."""
    scaled(light.pixels, y, x0, c, light.scale, out)


@helper
def alpha_row(cover, y, out):
    """Write the matte of row ``y`` into out (W,), in [0, 1]."""
    if cover.given:
        scaled(cover.pixels, y, FIRST, FIRST, cover.unit, out)
    else:
        out[:] = ZERO


@helper
def scaled(pixels, y, x0, c, scale, out):
    line, first = pixels.lines[y + c * pixels.jump], x0 * pixels.step + c * pixels.gap
    if pixels.size == 1:
        multiply(line, first, pixels.step, scale, out)
    elif pixels.size == 2:
        multiply(line.view(np.uint16), first, pixels.step, scale, out)
    else:
        multiply(line.view(np.float32), first, pixels.step, scale, out)


@helper
def multiply(values, first, step, scale, out):
    values = values[first::step]
    for x in range(out.shape[0]):
        out[x] = values[x] * scale


@helper
def write(rows, n, mixed, ink, pixels, y, x0):
    """Write display values, (channels, n...), as the pixels from (y, x0) on; ``mixed`` (channels * n...) is spare."""
    step = pixels.step
    if step == 1:  # planar, or grey
        for c in range(rows.shape[0]):
            put(rows[c], n, ink, pixels.lines[y + c * pixels.jump], pixels.size, x0)
        return
    red, green, blue, last = rows[0], rows[1], rows[2], rows[step - 1]
    if step == 3:  # known steps become vectors
        for x in range(n):
            mixed[3 * x] = red[x]
            mixed[3 * x + 1] = green[x]
            mixed[3 * x + 2] = blue[x]
    else:
        for x in range(n):
            mixed[4 * x] = red[x]
            mixed[4 * x + 1] = green[x]
            mixed[4 * x + 2] = blue[x]
            mixed[4 * x + 3] = last[x]
    put(mixed, n * step, ink, pixels.lines[y], pixels.size, x0 * step)


@helper
def put(row, n, ink, line, size, first):
    if size == 1:
        convert(row, n, ink, line, first)
    elif size == 2:
        convert(row, n, ink, line.view(np.uint16), first)
    else:
        convert(row, n, ink, line.view(np.float32), first)


@helper
def convert(row, n, ink, values, first):
    scale, half, into = ink.scale, ink.half, values[first : first + n]
    for i in range(n):
        into[i] = stored(row[i] * scale + half, into)


@helper
def copy(source, out, y, x0, n, channels):
    """Copy n pixels from (y, x0) on to a picture of the same layout and dtype."""
    planes, size = (channels, source.size) if source.gap == 0 else (1, source.step * source.size)
    for c in range(planes):
        row = y + c * source.jump
        line, into = source.lines[row], out.lines[row]
        line, into = line[x0 * size : (x0 + n) * size], into[x0 * size : (x0 + n) * size]
        for i in range(n * size):
            into[i] = line[i]
