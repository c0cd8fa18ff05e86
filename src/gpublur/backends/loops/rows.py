# mypy: disallow-untyped-defs=False
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


class Pixels(NamedTuple):
    """A picture's memory: value (y, x, c) is number x * step + c * gap of line y + c * jump."""

    lines: NDArray  # (rows, bytes) uint8
    size: int  # bytes of a value: 1 uint8, 2 uint16, 4 float32
    step: int
    gap: int  # 1, planar 0
    jump: int  # 0, planar the picture's height


class Light(NamedTuple):
    """A picture and how its code values become light."""

    pixels: Pixels
    height: int
    width: int
    table: NDArray  # (levels,) float32: light of each code value
    scale: np.float32  # value * scale = display value in [0, 1]
    channels: int  # 1, 3 or 4
    colours: int  # 1 or 3
    opacity: int  # index of the picture's own alpha channel, or -1


class Cover(NamedTuple):
    """A matte: nothing, a mask of the picture's size or another, or guided-filter coefficients."""

    kind: int  # 0 none, 1 mask of this size, 2 mask to be resampled, 3 coefficients
    mask: NDArray  # (h, bytes) uint8: its lines, as `Pixels` has them
    size: int  # bytes of a value of the mask: 1 uint8, 4 float32
    unit: np.float32  # mask * unit is in [0, 1]
    coefficients: NDArray  # (h, w, 4) float32: alpha = c0 r + c1 g + c2 b + c3, in display values
    place: NDArray  # (4,) float32: column of the mask = place[0] x + place[1], row = place[2] y + place[3]


class Ink(NamedTuple):
    """How light is written: encoded as sRGB or not, times ``scale`` plus ``half``, cut to the output's dtype."""

    encode: bool
    curve: NDArray  # (7,) float32: the encoder's polynomial
    scale: np.float32
    half: np.float32


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
    pixels = light.pixels
    line, first = pixels.lines[y + c * pixels.jump], x0 * pixels.step + c * pixels.gap
    if pixels.size == 1:
        scaled(line, first, pixels.step, light.scale, out)
    elif pixels.size == 2:
        scaled(line.view(np.uint16), first, pixels.step, light.scale, out)
    else:
        scaled(line.view(np.float32), first, pixels.step, light.scale, out)


@helper
def scaled(values, first, step, scale, out):
    values = values[first::step]
    for x in range(out.shape[0]):
        out[x] = values[x] * scale


@helper
def store(row, ink, pixels, y, x0, c):
    """Write display values (n,) as channel ``c`` of the pixels from (y, x0) on."""
    line, first = pixels.lines[y + c * pixels.jump], x0 * pixels.step + c * pixels.gap
    if pixels.size == 1:
        put(row, ink, line, first, pixels.step)
    elif pixels.size == 2:
        put(row, ink, line.view(np.uint16), first, pixels.step)
    else:
        put(row, ink, line.view(np.float32), first, pixels.step)


@helper
def put(row, ink, line, first, step):
    n, scale, half = row.shape[0], ink.scale, ink.half
    if step == 1:
        into = line[first : first + n]
        for x in range(n):
            into[x] = stored(row[x] * scale + half, line)
    else:
        values = line[first::step]
        for x in range(n):
            values[x] = stored(row[x] * scale + half, line)


@helper
def store_rgb(rows, n, ink, pixels, y, x0):
    """Write the first n display values of three rows as interleaved pixels from (y, x0) on, which have no fourth."""
    line = pixels.lines[y]
    if pixels.size == 1:
        put_rgb(rows, n, ink, line, 3 * x0)
    elif pixels.size == 2:
        put_rgb(rows, n, ink, line.view(np.uint16), 3 * x0)
    else:
        put_rgb(rows, n, ink, line.view(np.float32), 3 * x0)


@helper
def put_rgb(rows, n, ink, line, first):
    """One run of values with known steps becomes vectors."""
    scale, half = ink.scale, ink.half
    into, red, green, blue = line[first : first + 3 * n], rows[0], rows[1], rows[2]
    for x in range(n):
        into[3 * x] = stored(red[x] * scale + half, line)
        into[3 * x + 1] = stored(green[x] * scale + half, line)
        into[3 * x + 2] = stored(blue[x] * scale + half, line)


@helper
def copy(source, out, y, x0, n, channels):
    """Copy n pixels from (y, x0) on to a picture of the same layout and dtype."""
    if source.jump > 0:
        for c in range(channels):
            row = y + c * source.jump
            run(source.lines[row], out.lines[row], x0 * source.size, n * source.size)
    else:
        size = source.step * source.size
        run(source.lines[y], out.lines[y], x0 * size, n * size)


@helper
def run(source, into, first, n):
    source, into = source[first : first + n], into[first : first + n]
    for i in range(n):
        into[i] = source[i]


@helper
def alpha_row(light, cover, y, out):
    """Write the matte of row ``y`` into out (W,), in [0, 1]."""
    width = out.shape[0]
    if cover.kind == 0:
        out[:] = ZERO
    elif cover.kind == 1:
        mask_row(cover, y, out)
    else:
        last_row = cover.mask.shape[0] if cover.kind == 2 else cover.coefficients.shape[0]
        gy = min(max(cover.place[2] * y + cover.place[3], ZERO), np.float32(last_row - 1))
        top = int(gy)
        low = min(top + 1, last_row - 1)
        ty = gy - np.float32(top)
        if cover.kind == 2:
            last = cover.mask.shape[1] // cover.size
            line, below = np.empty(last, np.float32), np.empty(last, np.float32)
            mask_row(cover, top, line)
            mask_row(cover, low, below)
            for i in range(last):
                line[i] += ty * (below[i] - line[i])
            for x in range(width):
                gx = min(max(cover.place[0] * x + cover.place[1], ZERO), np.float32(last - 1))
                i = int(gx)
                t = gx - np.float32(i)
                out[x] = line[i] + t * (line[min(i + 1, last - 1)] - line[i])
        else:
            guided_row(light, cover, y, top, low, ty, out)


@helper
def mask_row(cover, y, out):
    """Write row ``y`` of the mask, in [0, 1], into out (w,)."""
    line = cover.mask[y]
    if cover.size == 1:
        scaled(line, 0, 1, cover.unit, out)
    else:
        scaled(line.view(np.float32), 0, 1, cover.unit, out)


@helper
def guided_row(light, cover, y, top, low, ty, out):
    """Evaluate (4): alpha = clamp(a . I + b) with a, b interpolated between the four samples around each pixel."""
    width, colours = out.shape[0], light.colours
    samples = cover.coefficients.shape[1]
    line = np.empty((samples, 4), np.float32)
    shown = np.empty((3, width), np.float32)
    for i in range(samples):
        for k in range(4):
            above = cover.coefficients[top, i, k]
            line[i, k] = above + ty * (cover.coefficients[low, i, k] - above)
    step = cover.place[0]
    begin = 0
    for i in range(-1, samples):  # the pixels between samples i and i + 1
        left, right = max(i, 0), min(i + 1, samples - 1)
        end = width if i == samples - 1 else min(width, int(np.ceil((i + 1 - cover.place[1]) / step)))
        plain = True
        for k in range(3):
            plain = plain and line[left, k] == ZERO and line[right, k] == ZERO
        if plain and line[left, 3] == line[right, 3]:
            flat = min(max(line[left, 3], ZERO), ONE)
            for x in range(begin, end):
                out[x] = flat
        elif begin < end:
            for c in range(colours):
                display(light, y, begin, c, shown[c, : end - begin])
            red, green, blue = shown[0], shown[min(1, colours - 1)], shown[colours - 1]
            for x in range(end - begin):
                t = min(max(step * (begin + x) + cover.place[1] - np.float32(i), ZERO), ONE)
                total = line[left, 3] + t * (line[right, 3] - line[left, 3])
                total += (line[left, 0] + t * (line[right, 0] - line[left, 0])) * red[x]
                total += (line[left, 1] + t * (line[right, 1] - line[left, 1])) * green[x]
                total += (line[left, 2] + t * (line[right, 2] - line[left, 2])) * blue[x]
                out[begin + x] = min(max(total, ZERO), ONE)
        begin = max(begin, end)
