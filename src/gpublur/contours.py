"""Lines around a subject: as far from its matte as they are wide, by NumPy and Pillow."""

from __future__ import annotations

from math import ceil, hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .color import from_unit
from .geometry import EDGE, Pixels, picture_behind
from .outline import Outline
from .types import SUBJECT

REACH = 16  # pixels of the grid on which distances are measured; wider lines are measured on a coarser one
TAIL = 3  # sigmas of a soft edge that are drawn
EDGE_WIDTH = 0.005  # of a subject, as a fraction of the diagonal
STEEPNESS = 1.702  # of the logistic function, which is then within .01 of the normal distribution's


def drawn(cut: Pixels, behind: Pixels | None, matte: NDArray[np.float32], outline: Outline) -> Pixels:
    """Return a subject that was cut out (H, W, 4) before its line, and that before a picture where one is given.

    Parameters
    ----------
    matte : array (H, W)
        In [0, 1].
    outline : Outline
        Checked.
    """
    line = np.empty((*matte.shape, 4), cut.dtype)
    line[..., :3] = from_unit(np.array(outline.color[:3], np.float32) / 255, cut.dtype)
    line[..., 3] = from_unit(coverage(matte, *reach(outline, matte.shape)) * (outline.color[3] / 255), cut.dtype)
    return picture_behind(cut, line if behind is None else picture_behind(line, behind))


def reach(outline: Outline, size: tuple[int, ...]) -> tuple[float, float]:
    """Return the width of a line and the sigma of its edge in pixels of a picture (height, width)."""
    diagonal = hypot(*size[:2])
    return outline.width * diagonal, outline.softness * diagonal


def grown(subject: tuple[slice, slice], outline: Outline, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns that a subject takes with its line."""
    width, soft = reach(outline, size)
    more = ceil(width + TAIL * soft)
    rows, columns = (
        slice(max(0, part.start - more), min(whole, part.stop + more))
        for part, whole in zip(subject, size, strict=True)
    )
    return rows, columns


def coverage(
    matte: NDArray[np.float32], width: float, soft: float, least: float = SUBJECT
) -> NDArray[np.float32]:  # fmt: skip
    """Return how much of each pixel a line covers, and the subject with it, where the matte is above ``least``."""
    from PIL import Image

    far = width + TAIL * soft
    factor = max(1, ceil(far / REACH))
    small = (ceil(matte.shape[1] / factor), ceil(matte.shape[0] / factor))
    image = Image.fromarray(np.asarray(matte, np.float32))
    inside = np.asarray(image.resize(small, Image.Resampling.BOX) if factor > 1 else image) > least
    # Distances are between the middles of cells, and the subject ends half a cell beyond the last of them.
    away = np.maximum(distance(inside, ceil(far / factor) + 2) - np.float32(0.5), 0) * np.float32(factor)
    if factor > 1:
        away = np.asarray(Image.fromarray(away).resize(matte.shape[::-1], Image.Resampling.BILINEAR))
    if soft > 0:
        covered: Any = 1 / (1 + np.exp(np.minimum((away - width) * (STEEPNESS / soft), 50)))
        covered[away >= far] = 0
    else:
        covered = np.where(away > 0, np.clip(width - away + 0.5, 0, 1), 1)
    return np.asarray(covered, np.float32)


def solid(matte: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a matte (H, W) that is 1 wherever it is further from all that is outside than its edge is wide."""
    near = coverage(1 - matte, max(1, EDGE_WIDTH * hypot(*matte.shape)), 0, least=1 - EDGE)
    return np.asarray(1 - near * (1 - matte), np.float32)


def distance(inside: NDArray[np.bool_], most: int) -> NDArray[np.float32]:
    """Return how far each pixel is from the nearest one inside, in pixels; at least ``most`` where that is further."""
    height = len(inside)
    rows = np.arange(height, dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(inside, rows, -most), axis=0)
    below = np.minimum.accumulate(np.where(inside, rows, height + most)[::-1], axis=0)[::-1]
    down = np.minimum(np.minimum(rows - above, below - rows), most).astype(np.float32) ** 2
    found = down.copy()
    for step in range(1, min(most, inside.shape[1])):
        np.minimum(found[:, step:], down[:, :-step] + step * step, out=found[:, step:])
        np.minimum(found[:, :-step], down[:, step:] + step * step, out=found[:, :-step])
    return np.sqrt(found)
