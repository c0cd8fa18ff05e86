"""From pixels to cells: decoded, weighted by what is background, and shrunk."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import helper, loop
from .rows import FIRST, ONE, ZERO, alpha_row, decode, display

BLOCKS = 32  # of rows, which the threads take in turn: a subject's cheap rows are shared out among them


class HighlightCurve(NamedTuple):
    """(3)'s weight: 1 - alpha * steep, times the highlight boost, a table over t = (V - low) * slope."""

    steep: np.float32
    table: NDArray
    low: np.float32
    slope: np.float32


class Decimation(NamedTuple):
    """How pixels become cells along one axis, as in `optics.Axis`."""

    factor: int
    first: int
    weights: NDArray


@loop
def decimate(light, cover, curve, down, across, frame, margin, begin, end, part, parts):
    """Write cells of rows begin..end-1: sums of w * light and w, weighted along both axes; outside the frame w is 0."""
    height, width = light.height, light.width
    capacity, planes = frame.shape[:2]
    factor, first, n = down.factor, down.first, down.weights.shape[0]
    block = max(4, (end - begin + BLOCKS - 1) // BLOCKS)
    rows = np.empty((planes, width), np.float32)
    alpha = np.empty(width, np.float32)
    sums = np.zeros((2, planes, width), np.float32)  # at most two windows of rows are open at a time
    for from_row in range(begin + part * block, end, parts * block):
        to_row = min(from_row + block, end)
        for y in range(from_row * factor + first, (to_row - 1) * factor + first + n):
            inside = 0 <= y < height
            if inside:
                for c in range(planes - 1):
                    decode(light, y, FIRST, c, rows[c])
                alpha_row(cover, y, alpha)
                weigh_row(light, y, alpha, curve, rows)
            newest = min((y - first) // factor, to_row - 1)
            for cell in range(max(newest - 1, from_row), newest + 1):
                k = y - cell * factor - first
                if 0 <= k < n:
                    total = sums[cell & 1]
                    add(rows, down.weights[k] if inside else ZERO, k == 0, total)
                    if k == n - 1:
                        for c in range(planes):
                            shrink(total[c], across, frame[(cell + capacity) % capacity, c], margin)


@helper
def weigh_row(light, y, alpha, curve, rows):
    """Fill the last plane of rows (planes, W) with (3)'s weight w, and multiply the others, their light, by it."""
    colours, width = light.colours, rows.shape[1]
    weight = rows[colours]
    for x in range(width):
        weight[x] = max(ONE - alpha[x] * curve.steep, ZERO)
    spare = alpha  # not needed any more
    if light.opacity >= 0:
        display(light, y, FIRST, light.opacity, spare)
        for x in range(width):
            weight[x] *= spare[x]
    top = curve.table.shape[0] - 1
    if top > 0:
        red, green, blue = rows[0], rows[min(1, colours - 1)], rows[colours - 1]
        for x in range(width):
            luminance = np.float32(0.2126) * red[x] + np.float32(0.7152) * green[x] + np.float32(0.0722) * blue[x]
            fourth = max(red[x], green[x], blue[x]) ** 4
            spare[x] = max(luminance, fourth * fourth)
        for x in range(width):
            if spare[x] > curve.low:
                t = min((spare[x] - curve.low) * curve.slope, ONE) * np.float32(top)
                i = min(np.uint32(t), np.uint32(top - 1))
                weight[x] *= curve.table[i] + (t - np.float32(i)) * (curve.table[i + 1] - curve.table[i])
    for c in range(colours):
        row = rows[c]
        for x in range(width):
            row[x] *= weight[x]


@helper
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


@helper
def shrink(row, across, out, margin):
    """Sum a row of pixels (W,) into cells; cells stand from -BORDER on, at out[margin - BORDER]."""
    factor, first, down = across.factor, across.first, across.weights
    width, n = row.shape[0], down.shape[0]
    cells = out.shape[0] - 2 * margin
    out[:margin] = ZERO
    out[margin + cells :] = ZERO
    if n == 1:
        into = out[margin : margin + cells]
        for cell in range(cells):
            into[cell] = row[cell]
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
