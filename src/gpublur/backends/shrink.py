"""The square that a network sees, on the CPU; kernels/shrink.cu is the same on a GPU."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..arrays import Picture, max_value
from .loops import compiled


def shrink(picture: Picture, side: int) -> NDArray[np.float32]:
    """Return a picture as a network sees it: stretched to a square, every pixel weighted by a triangle.

    This is torch's ``interpolate(mode="bilinear", antialias=True)`` of what is never stored as floats.

    Parameters
    ----------
    side : int
        Of the square, pixels.

    Returns
    -------
    array (1, 3, side, side) float32
        Display values in [0, 1]; grey three times, without the fourth channel.
    """
    pixels, channels = picture.pixels, picture.channels
    height, width = picture.size
    # Planes of lines: three planes of single values, or one plane whose lines hold the channels side by side.
    planes = pixels if picture.planar else pixels.reshape(1, height, width * channels)
    out = np.empty((3, side, side), np.float32)
    step = 1 if picture.planar else channels
    narrow(planes, step, *triangles(height, side, max_value(pixels.dtype)), *triangles(width, side), out)
    if channels == 1:
        out[1:] = out[0]
    return out[None]


@lru_cache(maxsize=64)
def triangles(length: int, side: int, top: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the first pixel of each of ``side`` cells over ``length`` pixels, and its weights there (sum 1 / top)."""
    scale = length / side
    reach = max(scale, 1.0)
    centre = (np.arange(side) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    pixel = first[:, None] + np.arange((last - first).max())
    weight = np.maximum(1 - np.abs(pixel + 0.5 - centre[:, None]) / reach, 0) * (pixel < last[:, None])
    return first, (weight / weight.sum(1, keepdims=True) / top).astype(np.float32)


@compiled
def narrow(planes, step, rows, row_weights, columns, column_weights, out):
    """Write out[c] (side, side): sums of planes (planes, H, W * step) by both axes' weights, columns first."""
    side, length = out.shape[1], planes.shape[2]
    together = min(step, 3)  # channels of a plane
    for i in range(side):
        line = np.empty(length, np.float32)
        for p in range(min(planes.shape[0], 3)):
            line[:] = np.float32(0)
            for k in range(row_weights.shape[1]):
                share = row_weights[i, k]
                if share > 0:
                    row = planes[p, rows[i] + k]
                    for x in range(length):
                        line[x] += share * np.float32(row[x])
            for j in range(side):
                for c in range(together):
                    total = np.float32(0)
                    for k in range(column_weights.shape[1]):
                        if column_weights[j, k] > 0:
                            total += column_weights[j, k] * line[(columns[j] + k) * step + c]
                    out[p + c, i, j] = total
