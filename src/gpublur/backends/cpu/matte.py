"""The matte on the CPU: coefficients of alpha and colour fields, on a few hundred samples a side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import matting
from .loops.fit import box_mean, fits, products

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
    for y in (-matting.AROUND * down, matting.AROUND * down):
        for x in (-matting.AROUND * across, matting.AROUND * across):
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
    trust = matting.UNSURE + (1 - matting.UNSURE) * np.maximum((2 * mask - 1) * (2 * around - 1), 0)
    mask, trust = (np.ascontiguousarray(plane, np.float32) for plane in (mask, trust))  # one type for Numba
    means = box_mean(products(guide, mask, trust), matting.WINDOW)
    weighted = box_mean(fits(means, matting.EPSILON, matting.FLAT, matting.EXPLAINED, matting.DOUBT), matting.MEAN)
    out = weighted[..., :4] / weighted[..., 4:]
    out[..., 3] -= matting.STRETCH
    out /= 1 - 2 * matting.STRETCH
    sure = np.clip((around - matting.CERTAIN[0]) / (matting.CERTAIN[1] - matting.CERTAIN[0]), 0, 1)[..., None]
    out += sure * (np.array([0, 0, 0, 1], np.float32) - out)
    flat = (out[..., :3] == 0).all(-1)  # solid in every window that reaches the sample: solid, whatever rounding says
    out[flat, 3] = np.clip(out[flat, 3], 0, 1)
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
    solid = np.maximum(1 - (1 - alpha) / matting.SOLID, 0) + matting.TRACE * alpha**4
    for weight in (solid * opacity, np.maximum(1 - alpha / matting.BACKGROUND_BELOW, 0) * opacity):
        sums = np.dstack([light * weight[..., None], weight])
        fields.append(push_pull(reduce(sums, matting.CELL), light))
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
    return (colour + np.maximum(matting.FIELD_BELOW - weight, 0) * coarse) / np.maximum(weight, matting.FIELD_BELOW)
