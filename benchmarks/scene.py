"""A photo for everyone: the same seeded evening street at every size, and the mask of its subject."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

CENTRE, AXES, SOFT = (0.55, 0.5), (0.38, 0.2), 0.04  # of the subject's ellipse, in heights and widths; its soft rim
WARM, COLD = np.float32([1.7, 1.1, 0.8]), np.float32([0.7, 0.85, 1.1])  # the subject's tint and the street's
LAMPS = 150
DRAWN = 24  # megapixels


def size_of(megapixels: float) -> tuple[int, int]:
    """Return height and width of a 4:3 picture; 12 is 3000 x 4000."""
    height = max(round(math.sqrt(megapixels * 1e6 * 3 / 4)), 1)
    return height, max(round(height * 4 / 3), 1)


def scene(height: int, width: int) -> Pixels:
    """Return (height, width, 3): gradients, texture from walls to grain, a warm subject, and lamps that saturate."""
    rng = np.random.default_rng(0)
    y, x = np.linspace(0, 1, height, dtype=np.float32)[:, None], np.linspace(0, 1, width, dtype=np.float32)
    dusk = 0.35 - 0.25 * y + 0.05 * np.sin(9 * x)
    texture = 0.12 * noise(rng, height, width, 9) + 0.08 * noise(rng, height, width, 90)
    grain = rng.standard_normal((height, width), np.float32) * 0.02
    alpha = rim(height, width)[..., None]
    picture = (dusk + texture + grain)[..., None] * (alpha * WARM + (1 - alpha) * COLD)
    for _ in range(LAMPS):
        row, column, radius = rng.random() * height, rng.random() * width, (0.001 + 0.004 * rng.random()) * height
        top, left = max(int(row - radius), 0), max(int(column - radius), 0)
        window = picture[top : int(row + radius) + 2, left : int(column + radius) + 2]
        y, x = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        lit = np.clip(radius + 0.5 - np.hypot(y - row, x - column), 0, 1)[..., None].astype(np.float32)
        window += lit * (rng.uniform(0.8, 1.1, 3).astype(np.float32) - window)
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def enlarged(height: int, width: int) -> Pixels:
    """Return `scene`; above DRAWN megapixels one of that size, enlarged, for drawing needs forty times its memory."""
    share = math.sqrt(min(DRAWN * 1e6 / (height * width), 1))
    if share == 1:
        return scene(height, width)
    drawn = Image.fromarray(scene(round(height * share), round(width * share)))
    return np.asarray(drawn.resize((width, height), Image.Resampling.BICUBIC))


def as_type(picture: Pixels, dtype: str) -> NDArray[Any]:
    """Return an 8-bit picture as another of the types that gpublur takes."""
    if dtype == "uint8":
        return picture
    return picture * np.uint16(257) if dtype == "uint16" else (picture / np.float32(255)).astype(dtype)


def ellipse(height: int, width: int) -> Pixels:
    """Return the subject's mask (height, width), 255 inside, with a soft rim."""
    return (rim(height, width) * 255 + 0.5).astype(np.uint8)


def rim(height: int, width: int) -> NDArray[np.float32]:
    """Return how much of each pixel is the subject: a half on the ellipse."""
    y = (np.linspace(0, 1, height, dtype=np.float32)[:, None] - CENTRE[0]) / AXES[0]
    x = (np.linspace(0, 1, width, dtype=np.float32) - CENTRE[1]) / AXES[1]
    return np.clip((1 + SOFT - np.hypot(y, x)) / (2 * SOFT), 0, 1)


def noise(rng: np.random.Generator, height: int, width: int, cells: int) -> NDArray[np.float32]:
    """Return smooth noise in about [-1, 1] with so many bumps from top to bottom."""
    coarse = rng.uniform(-1, 1, (cells, cells * 4 // 3)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
