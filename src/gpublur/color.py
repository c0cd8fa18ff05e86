"""Code values and what they mean: the numbers of a dtype, and sRGB's transfer function (IEC 61966-2-1)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# (8): what is added to 8-bit values before they are rounded is DITHER times a triangle wave over a lattice, which takes
# every height equally often, and at neighbours far apart: 2^32 / g^2 for a row and 2^32 / g for a column, modulo 2^32,
# where g^3 = g + 1 (Roberts 2018, the R2 sequence). It is less than half a value: what is a whole one already stays.
DITHER = 0.48
LATTICE = np.array((2447445414, 3242174889), np.uint32)

# The sRGB encoder above its linear part, as a polynomial in x^(1/4): Chebyshev interpolation of
# 1.055 x^(1/2.4) - 0.055 on [0.0031308, 1], largest error 2.2e-6 (test_optics.py).
ENCODE = np.array([-0.05973901, 0.14195826, 1.35457265, -0.82528002, 0.62100228, -0.29424764, 0.06173431], np.float32)


def dtype_name(array: Any) -> str:
    """Return the dtype of an array of any library as NumPy calls it."""
    return name_of(array.dtype)


@lru_cache(maxsize=64)
def name_of(dtype: Any) -> str:
    """Return a dtype of any library as NumPy calls it."""
    return getattr(dtype, "name", "") or str(dtype).removeprefix("torch.")


def max_value(dtype: Any) -> int:
    """Return the value that means 1 in pixels of a dtype, by its name or NumPy's: the largest integer, or 1 itself."""
    dtype = np.dtype(dtype)
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else 1


def dither_height(dtype: Any, dither: bool) -> np.float32:
    """Return the height of (8)'s wave in display values: of 8-bit pixels, where it is wanted, else 0."""
    return np.float32(DITHER / 255 if dither and np.dtype(dtype) == np.uint8 else 0)


def with_channels(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return pixels (h, w) or (h, w, c) with 3 or 4 channels at least: grey three times, opaque."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] < channels:
        opaque = np.full((*pixels.shape[:2], 1), max_value(pixels.dtype), pixels.dtype)
        pixels = np.concatenate([pixels, opaque], axis=2)
    return pixels


def to_unit(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Return a mask or an alpha channel (h, w) as float32 in [0, 1]."""
    return np.ascontiguousarray(plane, np.float32) / np.float32(max_value(plane.dtype))


def from_unit(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values in [0, 1] as the dtype holds them."""
    return (np.rint(values * max_value(dtype)) if dtype.kind == "u" else values).astype(dtype)


@lru_cache(maxsize=8)
def decode_table(levels: int, linear: bool) -> Floats:
    """Return the light of each of ``levels`` equally spaced display values in [0, 1]."""
    v = np.linspace(0, 1, levels)
    return (decode(v) if linear else v).astype(np.float32)


def decode(v: Any, xp: Any = np) -> Any:
    """Return the linear light of display values in [0, 1] (sRGB's EOTF, IEC 61966-2-1), by NumPy or torch, ``xp``."""
    return xp.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def encode(light: Any, xp: Any = np) -> Any:
    """Return display values of linear light in [0, 1], by `ENCODE`."""
    root = xp.sqrt(xp.sqrt(xp.clip(light, 1e-6, None)))  # below, where it is not taken, its slope would have no end
    curve = np.polynomial.polynomial.polyval(root, ENCODE)
    return xp.where(light > 0.0031308, xp.clip(curve, None, 1), 12.92 * light)
