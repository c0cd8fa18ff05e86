"""From cells back to pixels: subject and blurred background put together; or the subject cut out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .... import matting
from .compiled import helper, loop
from .decimate import BLOCKS
from .rows import ONE, ZERO, alpha_row, copy, decode, display, write

SEGMENT = 128  # pixels that are classified, blended and encoded together; their float rows stay in the L1 cache
TINY, NEXT_TO_NONE = np.float32(1e-30), np.float32(1e-20)
FAINT = np.float32(matting.FAINT)
SLACK = np.float32(1e-3)  # of light, in which (5)'s bounds are not strict: steps of I over alpha


class ColorFields(NamedTuple):
    """Colours of subject and background around each cell of a coarse grid, (h, w, 2 * colours)."""

    colours: NDArray
    place: NDArray  # as in AlphaSource
    below: np.float32  # blurred weight under which the background field fills in


class Interpolation(NamedTuple):
    """How cells become pixels along one axis, as in `optics.Axis`."""

    factor: int
    shift: NDArray
    up: NDArray


@loop
def composite(light, cover, fields, frame, margin, down, across, constant, encoding, out, begin, end, part, parts):
    """Write pixel rows begin..end-1: alpha F + (1 - alpha) B, B the upsampled frame or the ``constant`` colour.

    Pixels with alpha 1 are copied as they are. Without rows in the frame B is ``constant`` (colours,), linear.
    """
    width, colours, capacity = light.width, light.colours, frame.shape[0]
    block = max(4, (end - begin + BLOCKS - 1) // BLOCKS)
    wide = np.empty((4, colours + 1, width), np.float32)
    sparse = np.empty(width, np.float32)
    held = np.empty(4, np.int64)  # the row of cells in each of the four
    alpha = np.empty(width, np.float32)
    blur = np.empty((colours + 1, SEGMENT), np.float32)
    own = np.empty((colours, SEGMENT), np.float32)
    mixed = np.empty((colours + 1) * SEGMENT, np.float32)
    line = np.empty((fields.colours.shape[1], fields.colours.shape[2]), np.float32)
    for from_row in range(begin + part * block, end, parts * block):
        held[:] = -9
        for y in range(from_row, min(from_row + block, end)):
            phase = y % down.factor
            base = y // down.factor + down.shift[phase]
            if capacity > 0 and down.factor > 1:
                for cell in range(base, base + 4):
                    if held[cell & 3] != cell:
                        widen(frame[(cell + capacity) % capacity], margin, across, sparse, wide[cell & 3])
                        held[cell & 3] = cell
            alpha_row(cover, y, alpha)
            if cover.given:
                field_row(fields, y, line)
            for x0 in range(0, width, SEGMENT):
                n = min(SEGMENT, width - x0)
                clear, solid = tally(alpha[x0 : x0 + n])
                if solid == n:
                    copy(light.pixels, out, y, x0, n, light.channels)
                    continue
                if capacity == 0:
                    for c in range(colours):
                        blur[c, :n] = constant[c]
                else:
                    if down.factor > 1:
                        upright(wide, base, down.up[phase], x0, n, blur)
                    else:
                        for c in range(colours + 1):
                            cells = frame[(y + capacity) % capacity, c, margin + x0 : margin + x0 + n]
                            for x in range(n):
                                blur[c, x] = cells[x]
                    if cover.given:
                        lend(light, fields, line, y, x0, n, own[0], blur)
                    divide(blur, n)
                if clear + solid < n:
                    foreground(light, alpha, TINY, fields, line, y, x0, n, own)
                    for c in range(colours):
                        for x in range(n):
                            if alpha[x0 + x] > ZERO:
                                blur[c, x] += alpha[x0 + x] * (own[c, x] - blur[c, x])
                for c in range(colours):
                    if encoding.encode:
                        encode_row(blur[c], n, encoding.curve)
                    else:
                        clip_row(blur[c], n)
                if solid > 0:
                    keep_solid(light, alpha, y, x0, own[0, :n], blur)
                if light.opacity >= 0:  # the picture's own alpha channel is copied
                    display(light, y, x0, light.opacity, blur[light.opacity, :n])
                if encoding.dither > ZERO:
                    dither(blur[:colours], n, own[0], encoding, y, x0)
                write(blur[: light.channels], n, mixed, encoding, out, y, x0)


@helper
def widen(rows, margin, across, line, out):
    """Upsample one row of cells (planes, columns) to pixels (planes, W); ``line`` is spare."""
    planes, width = out.shape
    factor, shift, up = across.factor, across.shift, across.up
    if factor == 1:
        for c in range(planes):
            row, into = rows[c, margin : margin + width], out[c]
            for x in range(width):
                into[x] = row[x]
        return
    cells = (width + factor - 1) // factor
    for p in range(factor):
        u0, u1, u2, u3 = up[p, 0], up[p, 1], up[p, 2], up[p, 3]
        base = margin + shift[p]
        for c in range(planes):
            row = rows[c]
            r0, r1 = row[base : base + cells], row[base + 1 : base + 1 + cells]
            r2, r3 = row[base + 2 : base + 2 + cells], row[base + 3 : base + 3 + cells]
            for x in range(cells):
                line[x] = u0 * r0[x] + u1 * r1[x] + u2 * r2[x] + u3 * r3[x]
            into = out[c, p::factor]
            for x in range(into.shape[0]):
                into[x] = line[x]


@helper
def encode_row(row, n, curve):
    """Encode n linear values as sRGB in place, clipped to [0, 1]; `color.ENCODE` tells the polynomial."""
    c0, c1, c2, c3, c4, c5, c6 = curve[0], curve[1], curve[2], curve[3], curve[4], curve[5], curve[6]
    for x in range(n):
        v = min(max(row[x], ZERO), ONE)
        q = np.sqrt(np.sqrt(v))
        encoded = c0 + q * (c1 + q * (c2 + q * (c3 + q * (c4 + q * (c5 + q * c6)))))
        row[x] = min(encoded, ONE) if v > np.float32(0.0031308) else v * np.float32(12.92)


@helper
def dither(rows, n, noise, encoding, y, x0):
    """(8): add what spreads their rounding to n values of rows (colours, n...) from (y, x0) on; ``noise`` is spare."""
    across = np.int64(encoding.lattice[1])
    first = y * np.int64(encoding.lattice[0]) + x0 * across
    slope = encoding.dither * np.float32(2.0**-30)
    for x in range(n):
        noise[x] = abs(np.float32(np.int32(first + x * across))) * slope - encoding.dither
    for c in range(rows.shape[0]):
        row = rows[c]
        for x in range(n):
            row[x] += noise[x]


@helper
def clip_row(row, n):
    """Cut n values to [0, 1] in place: beside lights the upsampling overshoots, and integers would wrap around."""
    for x in range(n):
        row[x] = min(max(row[x], ZERO), ONE)


@helper
def field_row(fields, y, line):
    """Interpolate the fields along columns for row ``y`` into line (columns, 2 * colours)."""
    rows = fields.colours.shape[0]
    gy = min(max(fields.place[2] * np.float32(y) + fields.place[3], ZERO), np.float32(rows - 1))
    j = np.uint32(gy)
    low, t = min(j + 1, rows - 1), gy - np.float32(j)
    above, below = fields.colours[j], fields.colours[low]
    for i in range(line.shape[0]):
        for c in range(line.shape[1]):
            line[i, c] = above[i, c] + t * (below[i, c] - above[i, c])


@helper
def column_at(fields, x):
    """Return the cell left of pixel column ``x``, the one right of it, and how far it lies between them."""
    columns = fields.colours.shape[1]
    gx = min(max(fields.place[0] * np.float32(x) + fields.place[1], ZERO), np.float32(columns - 1))
    i = np.uint32(gx)
    return i, min(i + 1, np.uint32(columns - 1)), gx - np.float32(i)


@helper
def foreground(light, alpha, near, fields, line, y, x0, n, own):
    """(5): write the subject's own colour F into own (colours, n...): the photo's, unless background is mixed in.

    Blur fusion (Forte and Pitie 2021, eq. 4): F = F' + alpha (I - alpha F' - (1 - alpha) B'), with F' and B' the colour
    fields, and within what some background in [0, 1] can explain; ``near`` tells from which alpha on.
    """
    colours = light.colours
    for c in range(colours):
        decode(light, y, x0, c, own[c, :n])
    for k in range(n):
        a = alpha[x0 + k]
        if near <= a < ONE:
            i, right, t = column_at(fields, x0 + k)
            many = ONE / max(a, NEXT_TO_NONE)
            for c in range(colours):
                fore = line[i, c] + t * (line[right, c] - line[i, c])
                back = line[i, colours + c] + t * (line[right, colours + c] - line[i, colours + c])
                mixed = own[c, k]
                most = (mixed + SLACK) * many
                fused = min(
                    max(fore + a * (mixed - a * fore - (ONE - a) * back), most + (ONE - (ONE + 2 * SLACK) * many)), most
                )
                own[c, k] = min(max(fused, ZERO), ONE)


@helper
def tally(alpha):
    """Count the pixels of background alone and of subject alone; sums become vectors, a minimum and maximum do not."""
    clear, solid = np.int32(0), np.int32(0)
    for x in range(alpha.shape[0]):
        clear += np.int32(alpha[x] <= ZERO)
        solid += np.int32(alpha[x] >= ONE)
    return clear, solid


@helper
def upright(wide, base, up, x0, n, blur):
    """Interpolate along columns between four upsampled rows of cells."""
    r0, r1, r2, r3 = wide[base & 3], wide[(base + 1) & 3], wide[(base + 2) & 3], wide[(base + 3) & 3]
    u0, u1, u2, u3 = up[0], up[1], up[2], up[3]
    for c in range(blur.shape[0]):
        s0, s1, s2, s3 = r0[c, x0 : x0 + n], r1[c, x0 : x0 + n], r2[c, x0 : x0 + n], r3[c, x0 : x0 + n]
        into = blur[c]
        for x in range(n):
            into[x] = u0 * s0[x] + u1 * s1[x] + u2 * s2[x] + u3 * s3[x]


@helper
def lend(light, fields, line, y, x0, n, below, blur):
    """(3): add the background field to the sums where weight is missing, measured by the pixel's own opacity."""
    colours = light.colours
    weight = blur[colours]
    missing = np.int32(0)
    for x in range(n):
        missing += np.int32(weight[x] < fields.below)
    if missing == 0:
        return
    below[:n] = ONE
    if light.opacity >= 0:
        display(light, y, x0, light.opacity, below[:n])
    for x in range(n):
        least = fields.below * max(below[x], FAINT)
        if weight[x] < least:
            i, right, t = column_at(fields, x0 + x)
            lent = least - max(weight[x], ZERO)
            for c in range(colours, 2 * colours):
                blur[c - colours, x] += lent * (line[i, c] + t * (line[right, c] - line[i, c]))
            weight[x] = least


@helper
def divide(blur, n):
    """(3): B = blur(w rgb) / blur(w)."""
    weight = blur[blur.shape[0] - 1]
    for x in range(n):
        weight[x] = ONE / max(weight[x], np.float32(1e-12))
    for c in range(blur.shape[0] - 1):
        row = blur[c]
        for x in range(n):
            row[x] *= weight[x]


@helper
def keep_solid(light, alpha, y, x0, spare, rows):
    """Put the picture's own display values into rows (colours, n) where alpha is 1: they come out as they went in."""
    for c in range(light.colours):
        display(light, y, x0, c, spare)
        row = rows[c]
        for x in range(spare.shape[0]):
            if alpha[x0 + x] >= ONE:
                row[x] = spare[x]


@loop
def cutout(light, cover, fields, encoding, out, part, parts):
    """Write (colours + alpha) of the whole picture: F and alpha times the picture's own opacity, straight."""
    width, colours = light.width, light.colours
    alpha, spare = np.empty(width, np.float32), np.empty(SEGMENT, np.float32)
    own = np.empty((colours + 1, SEGMENT), np.float32)
    mixed = np.empty((colours + 1) * SEGMENT, np.float32)
    line = np.empty((fields.colours.shape[1], fields.colours.shape[2]), np.float32)
    for y in range(part, light.height, parts):
        alpha_row(cover, y, alpha)
        field_row(fields, y, line)
        for x0 in range(0, width, SEGMENT):
            n = min(SEGMENT, width - x0)
            _clear, solid = tally(alpha[x0 : x0 + n])
            if solid < n:
                foreground(light, alpha, ZERO, fields, line, y, x0, n, own)
                for c in range(colours):
                    encode_row(own[c], n, encoding.curve)
            if solid > 0:
                keep_solid(light, alpha, y, x0, spare[:n], own)
            last = own[colours]
            for x in range(n):
                last[x] = alpha[x0 + x]
            if light.opacity >= 0:
                display(light, y, x0, light.opacity, spare[:n])
                for x in range(n):
                    last[x] *= spare[x]
            write(own, n, mixed, encoding, out, y, x0)
