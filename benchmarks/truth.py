"""What is right, in float64: gpublur's own definition, and the peers', who blur everything and then paste.

Errors are those of the 8-bit result as it is delivered: the rounding, half a step at best, is in them.
"""

from __future__ import annotations

from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import reference  # tests/reference.py; conftest.py makes it importable
from numpy.typing import ArrayLike, NDArray
from scipy.signal import oaconvolve

from gpublur.types import BlurSpec

from .scene import CENTRE, Pixels

ROWS = (
    600  # of the crop; with 800 columns a diagonal of 1000: gpublur, which takes .05 of it, can be asked for 50 pixels
)


class Error(NamedTuple):
    """A distance from the truth, or what is allowed of it."""

    max_lsb: float  # in 1/255
    psnr_db: float

    def within(self, bound: Error) -> bool:
        return self.max_lsb <= bound.max_lsb and self.psnr_db >= bound.psnr_db


def error(got: ArrayLike, want: NDArray[np.float64]) -> Error:
    """Compare a result with the truth in [0, 1]; floats are rounded to 8 bits, as a screen would."""
    shown = np.asarray(got)
    white = np.iinfo(shown.dtype).max if shown.dtype.kind == "u" else 1
    shown = np.rint(shown.astype(np.float64) * (255 / white)) / 255
    assert shown.shape == want.shape
    return Error(reference.max_lsb(shown, want), reference.psnr(shown, want))


def crop(picture: Pixels, rows: int = ROWS) -> Pixels:
    """Return the part around the left end of the subject's ellipse, at full detail: subject, rim, background, lamps."""
    (height, width), columns = picture.shape[:2], rows * 4 // 3
    top = int(np.clip(CENTRE[0] * height - rows / 2, 0, max(height - rows, 0)))
    left = int(np.clip(0.3 * width - columns / 2, 0, max(width - columns, 0)))
    return np.ascontiguousarray(picture[top : top + rows, left : left + columns])


def pasted(photo: Pixels, mask: Pixels, mode: str, r: float, border: str) -> NDArray[np.float64]:
    """Return what a peer intends: a blur of ``r`` pixels of all display values, and the photo blended over it.

    Parameters
    ----------
    border : what the peer takes to lie outside the frame, as `numpy.pad` names it
    """
    shown, alpha = photo / 255, mask[..., None] / 255
    kernel = reference.kernel_of(mode, r)
    blurred = shown
    for part in (kernel[:, None], kernel[None]) if kernel.ndim == 1 else (kernel,):
        reach = [(n // 2, n // 2) for n in part.shape]
        blurred = oaconvolve(np.pad(blurred, [*reach, (0, 0)], mode=border), part[..., None], "valid", axes=(0, 1))
    return alpha * shown + (1 - alpha) * blurred


def road(photo: Pixels, mask: Pixels, spec: BlurSpec) -> NDArray[np.float64]:
    """Return what gpublur promises for a checked ``spec``."""

    def square(mode: str, r: float) -> NDArray[np.float64]:
        kernel = kernel_of(mode, r)
        return np.outer(kernel, kernel) if kernel.ndim == 1 else kernel

    kernel_of = reference.kernel_of
    # As a square the reference convolves the gaussian, too, by FFT: a second instead of a minute.
    how = (spec.mode, spec.radius, spec.highlights, spec.highlight_threshold, spec.linear_light)
    with patch.object(reference, "kernel_of", square):
        return reference.blur_background(photo / 255, mask / 255, *how)
