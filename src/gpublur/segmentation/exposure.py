"""Photos as a network is to see them: of even exposure, however little light there was."""

from __future__ import annotations

from array_api_compat import array_namespace

from .masks import Array

STRIDE = 4  # of the pixels looked at
BEYOND = 0.002  # of these may be brighter than white: lamps, reflections
DARKEST = 0.02  # a white point below five of 255 is noise


def even(photos: Array) -> Array:
    """Return photos stretched so that their white point is 1, which no photo gets darker by.

    The white point is the value that all but `BEYOND` of the pixels stay below in their brightest channel.

    Parameters
    ----------
    photos : array (n, 3, side, side) float32
        RGB in [0, 1], as displays show it.

    Returns
    -------
    array (n, 3, side, side) float32
        In [0, 1].
    """
    xp = array_namespace(photos)
    n = photos.shape[0]
    peaks = xp.sort(xp.reshape(xp.max(photos[:, :, ::STRIDE, ::STRIDE], axis=1), (n, -1)), axis=1)
    white = peaks[:, int((1 - BEYOND) * (peaks.shape[1] - 1))]
    return xp.clip(photos / xp.reshape(xp.clip(white, DARKEST, 1), (n, 1, 1, 1)), 0, 1)
