"""The matte: its constants, where a picture is sampled for it, and what an empty mask becomes.

Equation numbers are those of docs/maths.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .color import dtype_name, max_value
from .errors import NoSubject
from .types import SUBJECT

Floats = NDArray[np.float32]

MATTE_SAMPLES = 512  # samples of the photo along its longer side, for guided filter and colour fields
WINDOW = 7  # radius of the windows that are fitted, in samples: the reach within which a coarse mask finds the edge
MEAN = 4  # radius of the windows over which the fits are averaged
EPSILON = 2e-3  # of the fit, in display values squared: edges below its root, noise, JPEG blocks are smoothed over
FLAT = 1e-6  # variance of the mask under which a window lies wholly on one side
AROUND = 2  # samples to either side, diagonally, where the mask is asked as well how sure it is
UNSURE = 0.05  # weight of a sample at the mask's own edge; 1 leaves its errors in the fit
EXPLAINED = 0.6  # share of the mask's variance from which a fit is stretched to hold 0 and 1
DOUBT = 0.01  # unexplained variance that halves a window's weight in the average
STRETCH = 0.15  # alpha this near 0 or 1 becomes 0 or 1: a window with both sides in it leaves a glow on either
CERTAIN = (0.7, 0.95)  # a mask above these, all around, is held to be subject, increasingly and wholly
CELL = 4  # samples along the side of a cell of the colour fields
SOLID = 0.05  # a sample this far below alpha 1 tells nothing of the subject's own colour
TRACE = 1e-3  # weight of alpha's fourth power in that colour, which decides where nothing is solid
BACKGROUND_BELOW = 0.03  # more alpha carries no weight in the blur; at 0.05 a red subject leaves 0.2 LSB on grey
FILL_BELOW = 1 / 32  # (3): blurred weight, of a pixel's own opacity, under which the colour field fills in
FAINT = 1 / 255  # the least opacity of its own that a pixel's missing weight is measured by
FIELD_BELOW = 1 / 4  # the same for a cell of the colour fields and its coarser level


@dataclass(frozen=True)
class Sampling:
    """Samples of a picture, at most MATTE_SAMPLES a side: sample (i, j) is pixel (top + i * step, left + j * step)."""

    step: int
    top: int
    left: int
    rows: int
    columns: int

    def affine(self, cell: int = 1) -> Floats:
        """Return (4,) p: a sample's, or a cell of ``cell`` samples', column = p[0] x + p[1] and row = p[2] y + p[3]."""
        maps = []
        for first in (self.left, self.top):
            maps += [1 / (self.step * cell), (0.5 - first / self.step) / cell - 0.5]
        return np.array(maps, np.float32)


def sampling(height: int, width: int) -> Sampling:
    """Return where a picture of ``height`` x ``width`` pixels is sampled."""
    step = -(-max(height, width) // MATTE_SAMPLES)
    top, left = (min(step // 2, n // 2) for n in (height, width))
    return Sampling(step, top, left, len(range(top, height, step)), len(range(left, width, step)))


def mask_affine(mask: tuple[int, int], size: tuple[int, int]) -> Floats:
    """Return the map from pixels to a mask stretched over the picture, as `Sampling.affine` does; both are (h, w)."""
    down, across = (m / n for m, n in zip(mask, size, strict=True))
    return np.array([across, 0.5 * across - 0.5, down, 0.5 * down - 0.5], np.float32)


def apply_empty_mask_policy(masks: Any, on_no_subject: str) -> Any:
    """Return masks (h, w) or (n, h, w) with what is to happen where there is no subject.

    ``"keep"`` makes an empty mask a full one, so that the picture stays as it is: that is decided where the mask lies.
    ``"error"`` raises `NoSubject`, and waits for a GPU. ``"blur_all"`` leaves everything background.
    """
    if on_no_subject == "blur_all":
        return masks
    full = max_value(dtype_name(masks))
    empty = getattr(masks, "amax", masks.max)((-2, -1)) < SUBJECT * full  # torch's max takes one axis
    if on_no_subject == "keep":
        return masks + ((full - masks) * empty[..., None, None])
    if empty.any():
        raise NoSubject("no subject was found in the picture")
    return masks
