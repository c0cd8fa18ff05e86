"""The matte stage of the CPU backend: guided-filter coefficients and colour fields, on a few hundred samples a side."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..optics import BACKGROUND_BELOW, CELL, FIELD_BELOW, MATTE_SAMPLES

Floats = NDArray[np.float32]

WINDOW = 6  # radius of the guided filter, in samples: the reach within which a coarse mask finds the photo's edge
EPSILON = 3e-4  # of the guided filter, in display values squared: edges fainter than its root are smoothed over


def stride(height: int, width: int) -> int:
    """Return the distance of the samples in pixels, so that the longer side has at most MATTE_SAMPLES."""
    return -(-max(height, width) // MATTE_SAMPLES)


def origin(step: int, size: int) -> int:
    """Return the pixel of the first sample along an axis."""
    return min(step // 2, size // 2)


def place(step: int, height: int, width: int, cell: int = 1) -> Floats:
    """Return (4,) the map from pixels to samples, or to cells of ``cell`` samples, in the order of `loops.Cover`."""
    maps = []
    for size in (width, height):
        first = origin(step, size)
        maps += [1 / (step * cell), (0.5 - first / step) / cell - 0.5]
    return np.array(maps, np.float32)


def resample(mask: NDArray, rows: NDArray, columns: NDArray) -> Floats:
    """Interpolate ``mask`` (h, w) at fractional ``rows`` and ``columns``, clamped at its border."""
    out: NDArray = mask
    for axis, at in ((0, rows), (1, columns)):
        at = np.clip(at, 0, out.shape[axis] - 1)
        low = at.astype(np.intp)
        high = np.minimum(low + 1, out.shape[axis] - 1)
        t = (at - low).astype(np.float32)
        t = t[:, None] if axis == 0 else t
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
    # Solid in every window that reaches the sample: solid, whatever rounding says.
    solid = (out[..., :3] == 0).all(-1)
    out[solid, 3] = np.where(out[solid, 3] > 1 - 1e-4, 1, np.where(out[solid, 3] < 1e-4, 0, out[solid, 3]))
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


def colour_fields(light: Floats, alpha: Floats, opacity: Floats | float) -> Floats:
    """Return the colours of subject and background around each cell, (rows, columns, 2 * colours), defined everywhere.

    Means over cells of CELL x CELL samples, weighted by alpha for the subject and by (3)'s w without boost for the
    background; where a cell has little weight, coarser levels fill it in (push and pull).

    Parameters
    ----------
    light : (h, w, colours) samples in the light of the blur
    alpha, opacity : (h, w) in [0, 1]
    """
    plain = light.reshape(-1, light.shape[2]).mean(0)
    fields = []
    for weight in (alpha * opacity, np.maximum(1 - alpha / BACKGROUND_BELOW, 0) * opacity):
        sums = np.dstack([light * weight[..., None], weight])
        fields.append(push_pull(reduce(sums, CELL), plain))
    return np.dstack(fields).astype(np.float32)


def reduce(sums: Floats, n: int) -> Floats:
    """Return means over n x n blocks of (h, w, k); the last block of an axis counts what is missing as zero."""
    height, width, k = sums.shape
    rows, columns = -(-height // n), -(-width // n)
    padded = np.zeros((rows * n, columns * n, k), np.float32)
    padded[:height, :width] = sums
    return padded.reshape(rows, n, columns, n, k).mean((1, 3))


def push_pull(sums: Floats, plain: Floats) -> Floats:
    """Return (h, w, colours) from (h, w, colours + weight), ``plain`` where no cell has any weight at all."""
    colour, weight = sums[..., :-1], sums[..., -1:]
    if sums.shape[:2] == (1, 1):
        return colour / weight if weight.any() else plain[None, None]
    above = push_pull(reduce(sums, 2), plain)
    rows, columns = (np.arange(n) / 2 - 0.25 for n in sums.shape[:2])
    coarse = np.dstack([resample(above[..., c], rows, columns) for c in range(above.shape[2])])
    return (colour + np.maximum(FIELD_BELOW - weight, 0) * coarse) / np.maximum(weight, FIELD_BELOW)
