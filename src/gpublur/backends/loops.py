"""Numba loops of the CPU backend: planar float32 rows that fit the cache, threads over blocks of rows.

Frames are (rows, planes, columns): planes r, g, b, w (or v, w), already multiplied by w; ``margin`` zero columns
stand on either side of the cells. A frame keeps only the rows in use: row Y is stored at (Y + rows) % rows, rows
beyond the grid by at most BORDER included. Loops over x are written so that LLVM makes vectors of them. What is
decided in `optics` comes as data: Numba's cache looks at this file's date alone, so a constant of another file would
stay as it was.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange, types
from numba.extending import overload
from numpy.typing import NDArray

from ..optics import BORDER

SEGMENT = 128  # pixels that are classified, blended and encoded together; their float rows stay in the L1 cache
BLOCKS, HOP = 32, 13  # of rows, taken in this order: a subject's cheap rows are shared out among the threads
ROWS, TILE = 4, 2048  # cells blurred together, so that the rows and columns they read stay in the L2 cache
ONE, HALF, ZERO, TINY = np.float32(1), np.float32(0.5), np.float32(0), np.float32(1e-30)
SLACK = np.float32(1e-3)  # of light, in which (5)'s bounds are not strict: steps of I over alpha (twin: composite.cu)
NEXT_TO_NONE = np.float32(1e-20)

compiled = njit(cache=True, fastmath=True, nogil=True)
threaded = njit(cache=True, fastmath=True, nogil=True, parallel=True)


class Light(NamedTuple):
    """A picture and how its code values become light."""

    pixels: NDArray  # (H, W, C) or, planar, (C, H, W)
    planar: bool
    table: NDArray  # (levels,) float32: light of each code value
    scale: np.float32  # value * scale = display value in [0, 1]
    colours: int  # 1 or 3
    opacity: int  # index of the picture's own alpha channel, or -1


class Cover(NamedTuple):
    """A matte: nothing, a mask of the picture's size or another, or guided-filter coefficients."""

    kind: int  # 0 none, 1 mask of this size, 2 mask to be resampled, 3 coefficients
    mask: NDArray  # (h, w) uint8 or float32
    unit: np.float32  # mask * unit is in [0, 1]
    coefficients: NDArray  # (h, w, 4) float32: alpha = c0 r + c1 g + c2 b + c3, in display values
    place: NDArray  # (4,) float32: column of the mask = place[0] x + place[1], row = place[2] y + place[3]


class Fields(NamedTuple):
    """Colours of subject and background around each cell of a coarse grid, (h, w, 2 * colours)."""

    colours: NDArray
    place: NDArray  # as in Cover
    below: np.float32  # blurred weight under which the background field fills in


class Bend(NamedTuple):
    """(3)'s weight: 1 - alpha * steep, times the highlight boost, a table over t = (Y - low) * slope."""

    steep: np.float32
    table: NDArray
    low: np.float32
    slope: np.float32


class Ink(NamedTuple):
    """How light is written: encoded as sRGB or not, times ``scale`` plus ``half``, cut to the output's dtype."""

    encode: bool
    curve: NDArray  # (7,) float32: the encoder's polynomial
    scale: np.float32
    half: np.float32


@compiled
def value_at(light, y, x, c):
    return light.pixels[c, y, x] if light.planar else light.pixels[y, x, c]


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


@compiled
def light_row(light, y, out):
    """Decode row ``y`` into the first planes of out (planes, W)."""
    table, pixels, width = light.table, light.pixels, out.shape[1]
    if light.planar:
        for c in range(light.colours):
            source, into = pixels[c, y], out[c]
            for x in range(width):
                into[x] = table[code(source[x])]
    elif light.colours == 3:
        line, red, green, blue = pixels[y], out[0], out[1], out[2]
        for x in range(width):
            red[x] = table[code(line[x, 0])]
            green[x] = table[code(line[x, 1])]
            blue[x] = table[code(line[x, 2])]
    else:
        line, grey = pixels[y], out[0]
        for x in range(width):
            grey[x] = table[code(line[x, 0])]


@compiled
def alpha_row(light, cover, y, out):
    """Write the matte of row ``y`` into out (W,), in [0, 1]."""
    width = out.shape[0]
    if cover.kind == 0:
        out[:] = ZERO
    elif cover.kind == 1:
        row = cover.mask[y]
        for x in range(width):
            out[x] = row[x] * cover.unit
    else:
        last_row, last = cover.mask.shape if cover.kind == 2 else cover.coefficients.shape[:2]
        gy = min(max(cover.place[2] * y + cover.place[3], ZERO), np.float32(last_row - 1))
        top = int(gy)
        low = min(top + 1, last_row - 1)
        ty = gy - np.float32(top)
        if cover.kind == 2:
            line = np.empty(last, np.float32)
            for i in range(last):
                line[i] = (cover.mask[top, i] * (ONE - ty) + cover.mask[low, i] * ty) * cover.unit
            for x in range(width):
                gx = min(max(cover.place[0] * x + cover.place[1], ZERO), np.float32(last - 1))
                i = int(gx)
                t = gx - np.float32(i)
                out[x] = line[i] + t * (line[min(i + 1, last - 1)] - line[i])
        else:
            guided_row(light, cover, y, top, low, ty, out)


@compiled
def guided_row(light, cover, y, top, low, ty, out):
    """Evaluate (4): alpha = clamp(a . I + b) with a, b interpolated between the four samples around each pixel."""
    width = out.shape[0]
    samples = cover.coefficients.shape[1]
    line = np.empty((samples, 4), np.float32)
    for i in range(samples):
        for k in range(4):
            above = cover.coefficients[top, i, k]
            line[i, k] = above + ty * (cover.coefficients[low, i, k] - above)
    scale, step = light.scale, cover.place[0]
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
        else:
            for x in range(begin, end):
                t = min(max(step * x + cover.place[1] - np.float32(i), ZERO), ONE)
                total = line[left, 3] + t * (line[right, 3] - line[left, 3])
                for k in range(3):
                    c = k if light.colours == 3 else 0
                    a = line[left, k] + t * (line[right, k] - line[left, k])
                    total += a * (value_at(light, y, x, c) * scale)
                out[x] = min(max(total, ZERO), ONE)
        begin = max(begin, end)


@compiled
def weigh_row(light, y, alpha, bend, rows):
    """Fill the last plane of rows (planes, W) with (3)'s weight w, and multiply the others, their light, by it."""
    colours, width = light.colours, rows.shape[1]
    weight = rows[colours]
    for x in range(width):
        weight[x] = max(ONE - alpha[x] * bend.steep, ZERO)
    top = bend.table.shape[0] - 1
    if top > 0:
        red, green, blue = rows[0], rows[min(1, colours - 1)], rows[colours - 1]
        lum = alpha  # not needed any more
        for x in range(width):
            lum[x] = np.float32(0.2126) * red[x] + np.float32(0.7152) * green[x] + np.float32(0.0722) * blue[x]
        for x in range(width):
            if lum[x] > bend.low:
                t = min((lum[x] - bend.low) * bend.slope, ONE) * np.float32(top)
                i = min(np.uint32(t), np.uint32(top - 1))
                weight[x] *= bend.table[i] + (t - np.float32(i)) * (bend.table[i + 1] - bend.table[i])
    if light.opacity >= 0:
        for x in range(width):
            weight[x] *= value_at(light, y, x, light.opacity) * light.scale
    for c in range(colours):
        row = rows[c]
        for x in range(width):
            row[x] *= weight[x]


@threaded
def decimate(light, cover, bend, factor, down, first, frame, margin, begin, end):
    """Write cells of rows begin..end-1: sums over ``down`` x ``down`` of w * light and w; outside the frame w is 0."""
    height, width = light.pixels.shape[1:] if light.planar else light.pixels.shape[:2]
    capacity, planes = frame.shape[:2]
    n = down.shape[0]
    block = max(4, (end - begin + BLOCKS - 1) // BLOCKS)
    for b in prange(BLOCKS):
        from_row = begin + b * HOP % BLOCKS * block
        to_row = min(from_row + block, end)
        if from_row >= end:
            continue
        rows = np.empty((planes, width), np.float32)
        alpha = np.empty(width, np.float32)
        sums = np.zeros((2, planes, width), np.float32)  # at most two windows of rows are open at a time
        for y in range(from_row * factor + first, (to_row - 1) * factor + first + n):
            inside = 0 <= y < height
            if inside:
                light_row(light, y, rows)
                alpha_row(light, cover, y, alpha)
                weigh_row(light, y, alpha, bend, rows)
            newest = min((y - first) // factor, to_row - 1)
            for cell in range(max(newest - 1, from_row), newest + 1):
                k = y - cell * factor - first
                if 0 <= k < n:
                    total = sums[cell & 1]
                    add(rows, down[k] if inside else ZERO, k == 0, total)
                    if k == n - 1:
                        for c in range(planes):
                            shrink(total[c], down, first, factor, frame[(cell + capacity) % capacity, c], margin)


@compiled
def add(rows, share, fresh, total):
    """Add the share of rows (planes, W) to the total, or begin it where ``fresh``; outside the frame the share is 0."""
    if share == ZERO:
        if fresh:
            total[:] = ZERO
        return
    for c in range(rows.shape[0]):
        row, into = rows[c], total[c]
        if fresh:
            for x in range(row.shape[0]):
                into[x] = share * row[x]
        else:
            for x in range(row.shape[0]):
                into[x] += share * row[x]


@compiled
def shrink(row, down, first, factor, out, margin):
    """Sum a row of pixels (W,) into cells by ``down``; cells stand from -BORDER on, at out[margin - BORDER]."""
    width, n = row.shape[0], down.shape[0]
    cells = out.shape[0] - 2 * margin
    out[:margin] = ZERO
    out[margin + cells :] = ZERO
    if n == 1:
        out[margin : margin + cells] = row
        return
    inner = (width - first - n) // factor  # cells 1 .. inner lie wholly inside the row
    if factor <= 4 and inner > 0:
        into = out[margin + 1 : margin + 1 + inner]
        for k in range(0, n, 2):
            left, right = row[factor + first + k :: factor], row[factor + first + min(k + 1, n - 1) :: factor]
            share, other = down[k], down[k + 1] if k + 1 < n else ZERO
            if k == 0:
                for cell in range(inner):
                    into[cell] = share * left[cell] + other * right[cell]
            else:
                for cell in range(inner):
                    into[cell] += share * left[cell] + other * right[cell]
    for cell in range(-1, cells + 1):
        if factor <= 4 and 1 <= cell <= inner:
            continue
        start = cell * factor + first
        total = ZERO
        for k in range(max(0, -start), min(n, width - start)):
            total += down[k] * row[start + k]
        out[margin + cell] = total


@threaded
def along_rows(frame, weights, begin, end):
    """Convolve the rows of the frame with the taps, in place; the margins are at least the taps' reach wide."""
    capacity, planes, columns = frame.shape
    reach = weights.shape[0] // 2
    for b in prange(end - begin):
        rows = frame[(begin + b + capacity) % capacity]
        out = np.empty(columns - 2 * reach, np.float32)
        for c in range(planes):
            row = rows[c]
            out[:] = weights[reach] * row[reach : columns - reach]
            k = 1
            while k + 3 <= reach:
                four_pairs(row, out, weights, reach, k)
                k += 4
            while k <= reach:
                one_pair(row, out, weights[reach + k], reach, k)
                k += 1
            row[reach : columns - reach] = out


@compiled
def one_pair(row, out, share, reach, k):
    """Add the taps at distance k; slices, so that no index can be negative and the loop becomes vectors."""
    n = out.shape[0]
    left, right = row[reach - k : reach - k + n], row[reach + k : reach + k + n]
    for x in range(n):
        out[x] += share * (left[x] + right[x])


@compiled
def four_pairs(row, out, weights, reach, k):
    """Add the taps at distances k to k + 3 in one sweep."""
    n = out.shape[0]
    h0, h1, h2, h3 = weights[reach + k], weights[reach + k + 1], weights[reach + k + 2], weights[reach + k + 3]
    a0, b0 = row[reach - k : reach - k + n], row[reach + k : reach + k + n]
    a1, b1 = row[reach - k - 1 : reach - k - 1 + n], row[reach + k + 1 : reach + k + 1 + n]
    a2, b2 = row[reach - k - 2 : reach - k - 2 + n], row[reach + k + 2 : reach + k + 2 + n]
    a3, b3 = row[reach - k - 3 : reach - k - 3 + n], row[reach + k + 3 : reach + k + 3 + n]
    for x in range(n):
        out[x] += h0 * (a0[x] + b0[x]) + h1 * (a1[x] + b1[x]) + h2 * (a2[x] + b2[x]) + h3 * (a3[x] + b3[x])


@threaded
def along_columns(frame, weights, out, lowest, highest, begin, end):
    """Convolve the columns of the frame with the taps into rows begin..end-1 of ``out``; lowest..highest-1 exist."""
    capacity, planes, columns = frame.shape
    reach = weights.shape[0] // 2
    for b in prange((end - begin + ROWS - 1) // ROWS):
        for from_x in range(0, columns, TILE):
            to_x = min(from_x + TILE, columns)
            for y in range(begin + b * ROWS, min(begin + (b + 1) * ROWS, end)):
                for c in range(planes):
                    target = out[(y + out.shape[0]) % out.shape[0], c, from_x:to_x]
                    target[:] = weights[reach] * frame[(y + capacity) % capacity, c, from_x:to_x]
                    for k in range(1, reach + 1):
                        above = frame[(y - k + capacity) % capacity, c, from_x:to_x]
                        below = frame[(y + k + capacity) % capacity, c, from_x:to_x]
                        gather(above, y - k >= lowest, below, y + k < highest, weights[reach + k], target)


@compiled
def gather(above, use_above, below, use_below, share, target):
    """Add the share of one row or of both to the target."""
    if use_above and use_below:
        for x in range(target.shape[0]):
            target[x] += share * (above[x] + below[x])
    elif use_above or use_below:
        row = above if use_above else below
        for x in range(target.shape[0]):
            target[x] += share * row[x]


@threaded
def prefix_rows(frame, begin, end):
    """Replace the rows of the frame by their sums up to and without each column: out[x] = row[0] + ... + row[x - 1]."""
    capacity, planes, columns = frame.shape
    for b in prange(end - begin):
        rows = frame[(begin + b + capacity) % capacity]
        for c in range(0, planes, 2):  # two planes at a time: each sum waits for its own last addition
            left, right = rows[c], rows[c + 1]
            left_total, right_total = 0.0, 0.0
            for x in range(columns):
                left_value, right_value = left[x], right[x]
                left[x], right[x] = left_total, right_total
                left_total += left_value
                right_total += right_value


@threaded
def span_rows(frame, dy, half, weight, out, margin, lowest, highest, begin, end):
    """Sum the spans (7) from row prefixes into rows begin..end-1 of ``out``; rows lowest..highest-1 exist.

    Rows dy above and below share their spans: they are added first, then read twice for each span.
    """
    capacity, planes, columns = frame.shape
    reach = half.max()
    for b in prange((end - begin + ROWS - 1) // ROWS):
        both = np.empty(TILE + 2 * reach + 1, np.float32)
        for from_x in range(margin - BORDER, columns - margin + BORDER, TILE):
            n = min(TILE, columns - margin + BORDER - from_x)
            near, far = from_x - reach, from_x + n + reach + 1
            for y in range(begin + b * ROWS, min(begin + (b + 1) * ROWS, end)):
                for c in range(planes):
                    target = out[(y + out.shape[0]) % out.shape[0], c, from_x : from_x + n]
                    target[:] = ZERO
                    stop = 0
                    while stop < dy.shape[0]:
                        k, d = stop, dy[stop]
                        while stop < dy.shape[0] and dy[stop] == d:
                            stop += 1
                        above = frame[(y - d + capacity) % capacity, c, near:far]
                        below = frame[(y + d + capacity) % capacity, c, near:far]
                        use_below = d > 0 and lowest <= y + d < highest
                        pair_rows(above, lowest <= y - d < highest, below, use_below, both)
                        while k + 3 <= stop:
                            three_spans(both, target, half, weight, k, reach)
                            k += 3
                        if k + 2 == stop:
                            two_spans(both, target, half, weight, k, reach)
                        elif k < stop:
                            one_span(both, target, half[k], weight[k], reach)


@compiled
def pair_rows(above, use_above, below, use_below, both):
    """Write the sum of two rows, or the one that exists, or zeros."""
    n = above.shape[0]
    if use_above and use_below:
        for x in range(n):
            both[x] = above[x] + below[x]
    elif use_above:
        both[:n] = above
    elif use_below:
        both[:n] = below
    else:
        both[:n] = ZERO


@compiled
def one_span(both, target, j, share, reach):
    """Add one span; slices, so that no index can be negative and the loop becomes vectors."""
    n = target.shape[0]
    right, left = both[reach + j + 1 : reach + j + 1 + n], both[reach - j : reach - j + n]
    for x in range(n):
        target[x] += share * (right[x] - left[x])


@compiled
def two_spans(both, target, half, weight, k, reach):
    """Add spans k and k + 1 in one sweep over the target."""
    n = target.shape[0]
    j0, j1 = half[k], half[k + 1]
    w0, w1 = weight[k], weight[k + 1]
    r0, l0 = both[reach + j0 + 1 : reach + j0 + 1 + n], both[reach - j0 : reach - j0 + n]
    r1, l1 = both[reach + j1 + 1 : reach + j1 + 1 + n], both[reach - j1 : reach - j1 + n]
    for x in range(n):
        target[x] += w0 * (r0[x] - l0[x]) + w1 * (r1[x] - l1[x])


@compiled
def three_spans(both, target, half, weight, k, reach):
    """Add spans k, k + 1 and k + 2 in one sweep over the target."""
    n = target.shape[0]
    j0, j1, j2 = half[k], half[k + 1], half[k + 2]
    w0, w1, w2 = weight[k], weight[k + 1], weight[k + 2]
    r0, l0 = both[reach + j0 + 1 : reach + j0 + 1 + n], both[reach - j0 : reach - j0 + n]
    r1, l1 = both[reach + j1 + 1 : reach + j1 + 1 + n], both[reach - j1 : reach - j1 + n]
    r2, l2 = both[reach + j2 + 1 : reach + j2 + 1 + n], both[reach - j2 : reach - j2 + n]
    for x in range(n):
        target[x] += w0 * (r0[x] - l0[x]) + w1 * (r1[x] - l1[x]) + w2 * (r2[x] - l2[x])


@compiled
def widen(rows, margin, shift, up, out):
    """Upsample one row of cells (planes, columns) to pixels (planes, W) by the polyphase weights."""
    planes, width = out.shape
    factor = up.shape[0]
    cells = (width + factor - 1) // factor
    line = np.empty(cells, np.float32)
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


@compiled
def encode_row(row, n, curve):
    """Encode n linear values as sRGB in place, clipped to [0, 1]; `optics.ENCODE` tells the polynomial."""
    c0, c1, c2, c3, c4, c5, c6 = curve[0], curve[1], curve[2], curve[3], curve[4], curve[5], curve[6]
    for x in range(n):
        v = min(max(row[x], ZERO), ONE)
        q = np.sqrt(np.sqrt(v))
        encoded = c0 + q * (c1 + q * (c2 + q * (c3 + q * (c4 + q * (c5 + q * c6)))))
        row[x] = min(encoded, ONE) if v > np.float32(0.0031308) else v * np.float32(12.92)


@compiled
def clip_row(row, n):
    """Cut n values to [0, 1] in place: beside lights the upsampling overshoots, and integers would wrap around."""
    for x in range(n):
        row[x] = min(max(row[x], ZERO), ONE)


@compiled
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


@compiled
def column_at(fields, x):
    """Return the cell left of pixel column ``x``, the one right of it, and how far it lies between them."""
    columns = fields.colours.shape[1]
    gx = min(max(fields.place[0] * np.float32(x) + fields.place[1], ZERO), np.float32(columns - 1))
    i = np.uint32(gx)
    return i, min(i + 1, np.uint32(columns - 1)), gx - np.float32(i)


@compiled
def foreground(light, alpha, near, fields, line, y, x0, own):
    """(5): write the subject's own colour F into own (colours, n) where it is mixed with background.

    Blur fusion (Forte and Pitie 2021, eq. 4): F = F' + alpha (I - alpha F' - (1 - alpha) B'), with F' and B' the colour
    fields, and within what some background in [0, 1] can explain; ``near`` tells from which alpha on.
    """
    colours = light.colours
    for k in range(own.shape[1]):
        a = alpha[x0 + k]
        if near <= a < ONE:
            i, right, t = column_at(fields, x0 + k)
            many = ONE / max(a, NEXT_TO_NONE)
            for c in range(colours):
                fore = line[i, c] + t * (line[right, c] - line[i, c])
                back = line[i, colours + c] + t * (line[right, colours + c] - line[i, colours + c])
                mixed = light.table[code(value_at(light, y, x0 + k, c))]
                most = (mixed + SLACK) * many
                fused = min(
                    max(fore + a * (mixed - a * fore - (ONE - a) * back), most + (ONE - (ONE + 2 * SLACK) * many)), most
                )
                own[c, k] = min(max(fused, ZERO), ONE)


@compiled
def put(out, planar, y, x, c, value):
    if planar:
        out[c, y, x] = value
    else:
        out[y, x, c] = value


@threaded
def composite(light, cover, fields, frame, margin, factor, shift, up, constant, ink, out, begin, end):
    """Write pixel rows begin..end-1: alpha F + (1 - alpha) B, B the upsampled frame or the ``constant`` colour.

    Pixels with alpha 1 are copied as they are. Without rows in the frame B is ``constant`` (colours,), linear.
    """
    width = light.pixels.shape[2] if light.planar else light.pixels.shape[1]
    capacity = frame.shape[0]
    colours = light.colours
    block = max(4, (end - begin + BLOCKS - 1) // BLOCKS)
    for b in prange(BLOCKS):
        from_row = begin + b * HOP % BLOCKS * block
        if from_row >= end:
            continue
        wide = np.empty((4, colours + 1, width), np.float32)
        held = np.full(4, -9)  # the row of cells in each of the four
        alpha = np.empty(width, np.float32)
        blur = np.empty((colours + 1, SEGMENT), np.float32)
        own = np.empty((colours, SEGMENT), np.float32)
        line = np.empty(fields.colours.shape[1:], np.float32)
        for y in range(from_row, min(from_row + block, end)):
            phase = y % factor
            base = y // factor + shift[phase]
            if capacity > 0 and factor > 1:
                for cell in range(base, base + 4):
                    if held[cell & 3] != cell:
                        widen(frame[(cell + capacity) % capacity], margin, shift, up, wide[cell & 3])
                        held[cell & 3] = cell
            alpha_row(light, cover, y, alpha)
            if cover.kind > 0:
                field_row(fields, y, line)
            for x0 in range(0, width, SEGMENT):
                n = min(SEGMENT, width - x0)
                clear, solid = tally(alpha[x0 : x0 + n])
                if solid < n:
                    if capacity == 0:
                        for c in range(colours):
                            blur[c, :n] = constant[c]
                    else:
                        if factor > 1:
                            upright(wide, base, up[phase], x0, n, blur)
                        else:
                            for c in range(colours + 1):
                                at = margin + x0
                                blur[c, :n] = frame[(y + capacity) % capacity, c, at : at + n]
                        divide(blur, cover.kind > 0, fields, line, x0, n)
                    if clear < n:
                        foreground(light, alpha, TINY, fields, line, y, x0, own[:, :n])
                        for c in range(colours):
                            for x in range(n):
                                if alpha[x0 + x] > ZERO:
                                    blur[c, x] += alpha[x0 + x] * (own[c, x] - blur[c, x])
                    for c in range(colours):
                        if ink.encode:
                            encode_row(blur[c], n, ink.curve)
                        else:
                            clip_row(blur[c], n)
                write(light, alpha, blur, ink, out, y, x0, n, solid)


@compiled
def tally(alpha):
    """Count the pixels of background alone and of subject alone; sums become vectors, a minimum and maximum do not."""
    clear, solid = np.int32(0), np.int32(0)
    for x in range(alpha.shape[0]):
        clear += np.int32(alpha[x] <= ZERO)
        solid += np.int32(alpha[x] >= ONE)
    return clear, solid


@compiled
def upright(wide, base, up, x0, n, blur):
    """Interpolate along columns between four upsampled rows of cells."""
    r0, r1, r2, r3 = wide[base & 3], wide[(base + 1) & 3], wide[(base + 2) & 3], wide[(base + 3) & 3]
    u0, u1, u2, u3 = up[0], up[1], up[2], up[3]
    for c in range(blur.shape[0]):
        s0, s1, s2, s3 = r0[c, x0 : x0 + n], r1[c, x0 : x0 + n], r2[c, x0 : x0 + n], r3[c, x0 : x0 + n]
        into = blur[c]
        for x in range(n):
            into[x] = u0 * s0[x] + u1 * s1[x] + u2 * s2[x] + u3 * s3[x]


@compiled
def divide(blur, masked, fields, line, x0, n):
    """(3): B = blur(w rgb) / blur(w); under a matte, weight missing below a limit is lent by the background field."""
    colours, below = blur.shape[0] - 1, fields.below
    weight = blur[colours]
    missing = np.int32(0)
    for x in range(n):
        missing += np.int32(weight[x] < below)
    if masked and missing > 0:
        for x in range(n):
            if weight[x] < below:
                i, right, t = column_at(fields, x0 + x)
                lent = below - max(weight[x], ZERO)
                for c in range(colours, 2 * colours):
                    blur[c - colours, x] += lent * (line[i, c] + t * (line[right, c] - line[i, c]))
                weight[x] = below
    for x in range(n):
        weight[x] = ONE / max(weight[x], np.float32(1e-12))
    for c in range(colours):
        row = blur[c]
        for x in range(n):
            row[x] *= weight[x]


@compiled
def write(light, alpha, blur, ink, out, y, x0, n, solid):
    """Store a segment: the picture's own values where alpha is 1, at ``solid`` pixels; ``blur`` elsewhere.

    The picture's own alpha channel is copied in any case.
    """
    pixels, colours, scale, half = light.pixels, light.colours, ink.scale, ink.half
    if light.planar:
        for c in range(colours):
            source, into, row = pixels[c, y, x0 : x0 + n], out[c, y, x0 : x0 + n], blur[c]
            if solid == n:
                into[:] = source
            else:
                for x in range(n):
                    into[x] = stored(row[x] * scale + half, out)
    elif solid == n:
        source, into = pixels[y, x0 : x0 + n], out[y, x0 : x0 + n]
        for x in range(n):
            for c in range(colours):
                into[x, c] = source[x, c]
    elif out.shape[2] == 3:  # one run of values with known steps becomes vectors
        line, red, green, blue = out[y, x0 : x0 + n].reshape(3 * n), blur[0], blur[1], blur[2]
        for x in range(n):
            line[3 * x] = stored(red[x] * scale + half, out)
            line[3 * x + 1] = stored(green[x] * scale + half, out)
            line[3 * x + 2] = stored(blue[x] * scale + half, out)
    else:
        line = out[y, x0 : x0 + n]
        for c in range(colours):
            for x in range(n):
                line[x, c] = stored(blur[c, x] * scale + half, out)
    if 0 < solid < n:
        for x in range(x0, x0 + n):
            if alpha[x] >= ONE:
                for c in range(colours):
                    put(out, light.planar, y, x, c, value_at(light, y, x, c))
    if light.opacity >= 0:
        for x in range(x0, x0 + n):
            put(out, light.planar, y, x, light.opacity, value_at(light, y, x, light.opacity))


@threaded
def cutout(light, cover, fields, ink, out):
    """Write (colours + alpha) of the whole picture: F and alpha times the picture's own opacity, straight."""
    height, width = light.pixels.shape[1:] if light.planar else light.pixels.shape[:2]
    colours = light.colours
    for y in prange(height):
        alpha = np.empty(width, np.float32)
        own = np.empty((colours, width), np.float32)
        line = np.empty(fields.colours.shape[1:], np.float32)
        alpha_row(light, cover, y, alpha)
        field_row(fields, y, line)
        foreground(light, alpha, ZERO, fields, line, y, 0, own)
        if ink.encode:
            for c in range(colours):
                encode_row(own[c], width, ink.curve)
        write(light, alpha, own, ink, out, y, 0, width, tally(alpha)[1])
        if light.opacity >= 0:
            for x in range(width):
                alpha[x] *= value_at(light, y, x, light.opacity) * light.scale
        for x in range(width):
            put(out, light.planar, y, x, colours, alpha[x] * ink.scale + ink.half)


@threaded
def alpha_plane(light, cover, out):
    """Evaluate the matte at every pixel into out (H, W) float32."""
    for y in prange(out.shape[0]):
        alpha_row(light, cover, y, out[y])
