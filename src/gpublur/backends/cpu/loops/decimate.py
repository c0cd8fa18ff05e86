"""From pixels to cells: decoded, weighted by what is background, and shrunk."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import helper, loop
from .rows import ONE, ZERO, alpha_row, decode, display

BLOCKS = 32  # of rows, which the threads take in turn: a subject's cheap rows are shared out among them
SEGMENT = 512  # pixels that are decoded, weighed and added together; their rows stay in the L1 cache


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
    rows = np.empty((planes, SEGMENT), np.float32)
    spare = np.empty(SEGMENT, np.float32)
    alpha = np.empty(width, np.float32)
    sums = np.zeros((2, planes, width), np.float32)  # at most two windows of rows are open at a time
    for from_row in range(begin + part * block, end, parts * block):
        to_row = min(from_row + block, end)
        for y in range(from_row * factor + first, (to_row - 1) * factor + first + n):
            inside = 0 <= y < height
            if inside:
                alpha_row(cover, y, alpha)
            newest = min((y - first) // factor, to_row - 1)
            oldest = max(newest - (n > factor), from_row)
            for x0 in range(0, width, SEGMENT):
                m = min(SEGMENT, width - x0)
                counts = inside and weigh(light, y, x0, alpha[x0 : x0 + m], curve, spare, rows[:, :m])
                for cell in range(oldest, newest + 1):
                    k = y - cell * factor - first
                    if k < n:
                        add(rows[:, :m], down.weights[k] if counts else ZERO, k == 0, sums[cell & 1, :, x0 : x0 + m])
            for cell in range(oldest, newest + 1):
                if y - cell * factor - first == n - 1:
                    for c in range(planes):
                        shrink(sums[cell & 1, c], across, frame[(cell + capacity) % capacity, c], margin)


@helper
def weigh(light, y, x0, alpha, curve, spare, rows):
    """Fill rows (planes, n) with light times (3)'s weight w, and w, of the pixels from (y, x0) on; if any is not 0."""
    colours, n = light.colours, rows.shape[1]
    weight = rows[colours]
    visible = np.int32(0)
    for x in range(n):
        weight[x] = max(ONE - alpha[x] * curve.steep, ZERO)
        visible += np.int32(weight[x] > ZERO)
    if visible == 0:
        return False
    for c in range(colours):
        decode(light, y, x0, c, rows[c])
    if light.opacity >= 0:
        display(light, y, x0, light.opacity, spare[:n])
        for x in range(n):
            weight[x] *= spare[x]
    top = curve.table.shape[0] - 1
    if top > 0:
        red, green, blue = rows[0], rows[min(1, colours - 1)], rows[colours - 1]
        for x in range(n):
            luminance = np.float32(0.2126) * red[x] + np.float32(0.7152) * green[x] + np.float32(0.0722) * blue[x]
            fourth = max(red[x], green[x], blue[x]) ** 4
            spare[x] = max(luminance, fourth * fourth)
        for x in range(n):
            if spare[x] > curve.low:
                t = min((spare[x] - curve.low) * curve.slope, ONE) * np.float32(top)
                i = min(np.uint32(t), np.uint32(top - 1))
                weight[x] *= curve.table[i] + (t - np.float32(i)) * (curve.table[i + 1] - curve.table[i])
    for c in range(colours):
        row = rows[c]
        for x in range(n):
            row[x] *= weight[x]
    return True


@helper
def add(rows, share, fresh, total):
    """Add the share of rows (planes, n) to the total, or begin it where ``fresh``; of what does not count it is 0."""
    for c in range(rows.shape[0]):
        row, into = rows[c], total[c]
        if share == ZERO:
            if fresh:
                for x in range(row.shape[0]):
                    into[x] = ZERO
        elif fresh:
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
