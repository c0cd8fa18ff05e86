"""The matte stage of the CPU backend: guided-filter coefficients and colour fields, on a few hundred samples a side."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..optics import BACKGROUND_BELOW, CELL, CERTAIN, EPSILON, FIELD_BELOW, SOLID, STRETCH, TRACE, WINDOW

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


def guided_coefficients(guide: Floats, mask: Floats) -> Floats:
    """Return (4)'s averaged coefficients (h, w, 4) of the colour guided filter (He, Sun and Tang 2013, eq. 19 to 21).

    Parameters
    ----------
    guide : (h, w, 3) display values in [0, 1]
    mask : (h, w) in [0, 1]
    """
    i, j = np.triu_indices(3)
    products = guide[..., i] * guide[..., j]
    mean = box_mean(np.dstack([guide, mask, products, guide * mask[..., None]]).astype(np.float32), WINDOW)
    mean_i, mean_p = mean[..., :3], mean[..., 3]
    covariance = np.empty((*mask.shape, 3, 3), np.float32)
    covariance[..., i, j] = covariance[..., j, i] = mean[..., 4:10] - mean_i[..., i] * mean_i[..., j]
    covariance[..., range(3), range(3)] += EPSILON
    with_mask = mean[..., 10:] - mean_i * mean_p[..., None]
    a = np.linalg.solve(covariance, with_mask[..., None])[..., 0]
    a[np.abs(a) < 1e-5] = 0  # rounding where the mask is flat: exact zeros let solid areas skip the guide
    b = mean_p - (a * mean_i).sum(-1)
    out = box_mean(np.dstack([a, b]).astype(np.float32), WINDOW)
    out[..., 3] -= STRETCH
    out /= 1 - 2 * STRETCH
    sure = np.clip((mask - CERTAIN[0]) / (CERTAIN[1] - CERTAIN[0]), 0, 1)[..., None]
    out += sure * (np.array([0, 0, 0, 1], np.float32) - out)
    flat = (out[..., :3] == 0).all(-1)  # solid in every window that reaches the sample: solid, whatever rounding says
    out[flat, 3] = np.clip(out[flat, 3], 0, 1)
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
    solid = np.maximum(1 - (1 - alpha) / SOLID, 0) + TRACE * alpha**4
    for weight in (solid * opacity, np.maximum(1 - alpha / BACKGROUND_BELOW, 0) * opacity):
        sums = np.dstack([light * weight[..., None], weight])
        fields.append(push_pull(reduce(sums, CELL), light))
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
    return (colour + np.maximum(FIELD_BELOW - weight, 0) * coarse) / np.maximum(weight, FIELD_BELOW)
