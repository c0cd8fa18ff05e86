"""The matte stage of the CPU backend: coefficients of alpha and colour fields, on a few hundred samples a side."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .. import optics

Floats = NDArray[np.float32]


def resample(mask: NDArray, rows: NDArray, columns: NDArray) -> Floats:
    """Interpolate ``mask`` (h, w, ...) at fractional ``rows`` and ``columns``, clamped at its border."""
    out: NDArray = mask
    for axis, at in ((0, rows), (1, columns)):
        at = np.clip(at, 0, out.shape[axis] - 1)
        low = at.astype(np.intp)
        high = np.minimum(low + 1, out.shape[axis] - 1)
        t = (at - low).astype(np.float32)
        t = np.expand_dims(t, tuple(i for i in range(out.ndim) if i != axis))
        out = out.take(low, axis) * (1 - t) + out.take(high, axis) * t
    return out


def surroundings(mask: NDArray, centre: Floats, rows: NDArray, columns: NDArray, down: float, across: float) -> Floats:
    """Return the mean of ``mask`` at each sample, its ``centre``, and at four points diagonally from it.

    As `resample` gives them; ``down`` and ``across`` are a sample's steps in its units.
    """
    total = centre
    for y in (-optics.AROUND * down, optics.AROUND * down):
        for x in (-optics.AROUND * across, optics.AROUND * across):
            total = total + resample(mask, rows + y, columns + x)
    return total * np.float32(0.2)


def coefficients(guide: Floats, mask: Floats, around: Floats) -> Floats:
    """Return (4)'s coefficients (h, w, 4): alpha = clamp(c0 r + c1 g + c2 b + c3).

    Parameters
    ----------
    guide : (h, w, 3) display values in [0, 1]
    mask : (h, w) in [0, 1]
    around : (h, w) in [0, 1], the mask's mean at and around each sample
    """
    trust = optics.UNSURE + (1 - optics.UNSURE) * np.maximum((2 * mask - 1) * (2 * around - 1), 0)
    means = box_mean(products(guide, mask, trust.astype(np.float32)), optics.WINDOW)
    weighted = box_mean(fits(means, optics.EPSILON, optics.FLAT, optics.EXPLAINED, optics.DOUBT), optics.MEAN)
    out = weighted[..., :4] / weighted[..., 4:]
    out[..., 3] -= optics.STRETCH
    out /= 1 - 2 * optics.STRETCH
    sure = np.clip((around - optics.CERTAIN[0]) / (optics.CERTAIN[1] - optics.CERTAIN[0]), 0, 1)[..., None]
    out += sure * (np.array([0, 0, 0, 1], np.float32) - out)
    flat = (out[..., :3] == 0).all(-1)  # solid in every window that reaches the sample: solid, whatever rounding says
    out[flat, 3] = np.clip(out[flat, 3], 0, 1)
    return out


@njit(cache=True, nogil=True)
def products(guide, mask, trust):
    """Return the weighted planes (h, w, 15) whose means make a fit: 1, r, g, b, p, their products, p squared."""
    height, width = mask.shape
    out = np.empty((height, width, 15), np.float32)
    for y in range(height):
        for x in range(width):
            r, g, b = guide[y, x]
            p, w = mask[y, x], trust[y, x]
            row, wr, wg, wb, wp = out[y, x], w * r, w * g, w * b, w * p
            row[0], row[1], row[2], row[3], row[4] = w, wr, wg, wb, wp
            row[5], row[6], row[7], row[8], row[9], row[10] = wr * r, wr * g, wr * b, wg * g, wg * b, wb * b
            row[11], row[12], row[13], row[14] = wp * r, wp * g, wp * b, wp * p
    return out


@njit(cache=True, nogil=True)
def fits(means, epsilon, flat, explained, doubt):
    """Return each window's fit (h, w, 5): (4)'s a and b times the weight, and the weight. ``means`` are overwritten."""
    height, width = means.shape[:2]
    out = np.empty((height, width, 5), np.float32)
    for y in range(height):
        for x in range(width):
            m = means[y, x]
            m /= m[0]
            r, g, b, p = m[1], m[2], m[3], m[4]
            varies = max(m[14] - p * p, 0.0)
            # Covariance + epsilon, factored as L D L^T, and its solution for the covariance with the mask.
            rr, rg, rb = m[5] - r * r + epsilon, m[6] - r * g, m[7] - r * b
            gg, gb, bb = m[8] - g * g + epsilon, m[9] - g * b, m[10] - b * b + epsilon
            pr, pg, pb = m[11] - r * p, m[12] - g * p, m[13] - b * p
            l10, l20 = rg / rr, rb / rr
            d1, t = gg - l10 * rg, gb - l20 * rg
            l21 = t / d1
            y1 = pg - l10 * pr
            a2 = (pb - l20 * pr - l21 * y1) / (bb - l20 * rb - l21 * t)
            a1 = y1 / d1 - l21 * a2
            a0 = pr / rr - l10 * a1 - l20 * a2
            tells = min(max(a0 * pr + a1 * pg + a2 * pb, 0.0), varies)
            gain = 0.0 if varies < flat else 1 / max(tells / varies, explained)
            a0, a1, a2 = gain * a0, gain * a1, gain * a2
            weight = 1 / (varies - tells + doubt)
            row = out[y, x]
            row[0], row[1], row[2] = weight * a0, weight * a1, weight * a2
            row[3], row[4] = weight * (p - a0 * r - a1 * g - a2 * b), weight
    return out


@njit(cache=True, nogil=True)
def box_mean(planes, radius):
    """Mean over the (2 radius + 1)^2 window of (h, w, k) planes, over the samples that exist."""
    height, width, count = planes.shape
    rows = np.empty(planes.shape, np.float32)
    total = np.empty(count)
    for y in range(height):
        total[:] = 0.0
        for x in range(-radius, width):
            if x + radius < width:
                total += planes[y, x + radius]
            if x - radius - 1 >= 0:
                total -= planes[y, x - radius - 1]
            if x >= 0:
                rows[y, x] = total / (min(x + radius, width - 1) - max(x - radius, 0) + 1)
    out = np.empty(planes.shape, np.float32)
    column = np.zeros((width, count))
    for y in range(-radius, height):
        if y + radius < height:
            column += rows[y + radius]
        if y - radius - 1 >= 0:
            column -= rows[y - radius - 1]
        if y >= 0:
            out[y] = column / (min(y + radius, height - 1) - max(y - radius, 0) + 1)
    return out


def colour_fields(light: Floats, alpha: Floats, opacity: Floats | np.float32) -> Floats:
    """Return the colours of subject and background around each cell, (rows, columns, 2 * colours), defined everywhere.

    Means over cells of CELL x CELL samples that are solid: subject by how far alpha is within SOLID of 1, background
    by (3)'s w without boost. Where a cell has little weight, coarser levels fill it in (push and pull). A rim
    weighted by its alpha would carry old background into the subject's colour: 37 to 76 LSB on a flat subject, 1 to 2
    with solid samples. Where nothing is solid a trace of alpha's fourth power decides.

    Parameters
    ----------
    light : (h, w, colours) samples in the light of the blur
    alpha, opacity : (h, w) in [0, 1]
    """
    fields = []
    solid = np.maximum(1 - (1 - alpha) / optics.SOLID, 0) + optics.TRACE * alpha**4
    for weight in (solid * opacity, np.maximum(1 - alpha / optics.BACKGROUND_BELOW, 0) * opacity):
        sums = np.dstack([light * weight[..., None], weight])
        fields.append(push_pull(reduce(sums, optics.CELL), light))
    return np.dstack(fields).astype(np.float32)


def reduce(sums: Floats, n: int) -> Floats:
    """Return means over n x n blocks of (h, w, k); the last block of an axis may be smaller."""
    height, width, k = sums.shape
    rows, columns = -(-height // n), -(-width // n)
    padded = np.zeros((rows * n, columns * n, k), np.float32)
    padded[:height, :width] = sums
    lines = padded.reshape(rows, n, columns * n, k).sum(1)
    blocks = sum(lines[:, i::n] for i in range(n))
    down, across = (np.minimum(n, size - np.arange(0, size, n), dtype=np.float32) for size in (height, width))
    return blocks / (down[:, None, None] * across[:, None])


def push_pull(sums: Floats, light: Floats) -> Floats:
    """Return (h, w, colours) from (h, w, colours + weight); the mean of ``light`` where nothing has weight."""
    colour, weight = sums[..., :-1], sums[..., -1:]
    if sums.shape[:2] == (1, 1):
        return colour / weight if weight.any() else light.mean((0, 1), keepdims=True)
    above = push_pull(reduce(sums, 2), light)
    rows, columns = (np.arange(n) / 2 - 0.25 for n in sums.shape[:2])
    coarse = resample(above, rows, columns)
    return (colour + np.maximum(optics.FIELD_BELOW - weight, 0) * coarse) / np.maximum(weight, optics.FIELD_BELOW)
