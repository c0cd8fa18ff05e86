"""The same job by others, each in its native best form: picture and result in its own kind, its own threads, 8-bit.

All of them blur everything in display values and then paste the subject over it: that is what they offer. None keeps
the subject out of the blur, works in linear light, or lets lamps glow; gpublur does in the times beside theirs.

A job is prepared outside the clock (kinds converted, kernel computed) and returns the call that is timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference

from .scene import Pixels
from .truth import Error

Call = Callable[[], Any]  # what it returns, np.asarray understands


@dataclass(frozen=True)
class Peer:
    name: str
    module: str
    mode: str
    prepare: Callable[[Pixels, Pixels, float], Call]  # photo, mask, radius in pixels
    border: str  # its rule outside the frame, as numpy.pad names it
    bound: Error  # so loose that its own inaccuracy passes and a wrong call does not
    device: str = "cpu"


def opencv_gaussian(photo: Pixels, mask: Pixels, r: float) -> Call:
    import cv2

    return lambda: paste(photo, cv2.GaussianBlur(photo, (0, 0), r), mask)


def opencv_gaussian_float(photo: Pixels, mask: Pixels, r: float) -> Call:
    import cv2

    return lambda: paste(photo, cv2.GaussianBlur(photo.astype(np.float32), (0, 0), r), mask)


def opencv_disk(photo: Pixels, mask: Pixels, r: float) -> Call:
    import cv2

    kernel = reference.disk_kernel(r).astype(np.float32)
    return lambda: paste(photo, cv2.filter2D(photo, -1, kernel), mask)


def opencv_disk_float(photo: Pixels, mask: Pixels, r: float) -> Call:
    import cv2

    kernel = reference.disk_kernel(r).astype(np.float32)
    return lambda: paste(photo, cv2.filter2D(photo.astype(np.float32), -1, kernel), mask)


def opencv_stack(photo: Pixels, mask: Pixels, r: float) -> Call:
    import cv2

    # Its weights are a triangle of variance ((k + 1)^2 - 1) / 6, k = (size - 1) / 2: the same sigma as the gaussian.
    k = max(round(math.sqrt(6 * r * r + 1)) - 1, 1)
    return lambda: paste(photo, cv2.stackBlur(photo, (2 * k + 1, 2 * k + 1)), mask)


def opencv_box(photo: Pixels, mask: Pixels, r: float) -> Call:
    import cv2

    k = round((math.sqrt(12 * r * r + 1) - 1) / 2)  # 2 k + 1 pixels in a row have the variance (k^2 + k) / 3: r^2
    return lambda: paste(photo, cv2.blur(photo, (2 * k + 1, 2 * k + 1)), mask)


def paste(photo: Pixels, blurred: Any, mask: Pixels) -> Any:
    """Blend by OpenCV: one threaded pass."""
    import cv2

    own = mask.astype(np.float32) / np.float32(255)
    if blurred.dtype == np.uint8:
        return cv2.blendLinear(photo, blurred, own, 1 - own)
    return cv2.convertScaleAbs(cv2.blendLinear(photo.astype(np.float32), blurred, own, 1 - own))


def pillow_gaussian(photo: Pixels, mask: Pixels, r: float) -> Call:
    from PIL import Image, ImageFilter

    picture, matte = Image.fromarray(photo), Image.fromarray(mask)
    return lambda: Image.composite(picture, picture.filter(ImageFilter.GaussianBlur(r)), matte)


def vips_gaussian(photo: Pixels, mask: Pixels, r: float, **how: Any) -> Call:
    import pyvips

    pyvips.cache_set_max(0)  # or the second call would be answered from memory
    picture, matte = pyvips.Image.new_from_array(photo), pyvips.Image.new_from_array(mask)

    def call() -> Any:
        both = matte.ifthenelse(picture, picture.gaussblur(r, **how), blend=True)
        return (both if both.format == "uchar" else both.rint().cast("uchar")).numpy()

    return call


def vips_gaussian_precise(photo: Pixels, mask: Pixels, r: float) -> Call:
    return vips_gaussian(photo, mask, r, min_ampl=0.001, precision="float")


def scipy_gaussian(photo: Pixels, mask: Pixels, r: float) -> Call:
    from scipy.ndimage import gaussian_filter

    return lambda: blend(photo, gaussian_filter(photo.astype(np.float32), (r, r, 0), mode="mirror"), mask)


def scipy_disk(photo: Pixels, mask: Pixels, r: float) -> Call:
    from scipy import fft, signal

    kernel = reference.disk_kernel(r).astype(np.float32)[..., None]
    reach = [(n // 2, n // 2) for n in kernel.shape]
    threads = cpu_threads()

    def call() -> Any:
        with fft.set_workers(threads):
            padded = np.pad(photo.astype(np.float32), reach, mode="reflect")
            return blend(photo, signal.fftconvolve(padded, kernel, "valid", axes=(0, 1)), mask)

    return call


def skimage_gaussian(photo: Pixels, mask: Pixels, r: float) -> Call:
    from skimage.filters import gaussian

    how = {"sigma": r, "mode": "mirror", "channel_axis": -1, "preserve_range": True}
    return lambda: blend(photo, gaussian(photo.astype(np.float32), **how), mask)


def blend(photo: Pixels, blurred: Any, mask: Pixels) -> Any:
    """Blend by NumPy, in float32 and in place, and round."""
    alpha = mask[..., None] * np.float32(1 / 255)
    blurred += alpha * (photo - blurred)
    return np.clip(np.rint(blurred, out=blurred), 0, 255, out=blurred).astype(np.uint8)


def cpu_threads() -> int:
    import numba

    return numba.get_num_threads()


FAITHFUL, ROUGH = Error(1.5, 55), Error(40, 43)

PEERS = (
    Peer("OpenCV GaussianBlur u8", "cv2", "gaussian", opencv_gaussian, "reflect", Error(5, 50)),
    Peer("OpenCV GaussianBlur f32", "cv2", "gaussian", opencv_gaussian_float, "reflect", FAITHFUL),
    Peer("OpenCV stackBlur u8", "cv2", "gaussian", opencv_stack, "edge", ROUGH),
    Peer("OpenCV blur (box) u8", "cv2", "gaussian", opencv_box, "reflect", Error(90, 35)),
    Peer("Pillow GaussianBlur", "PIL", "gaussian", pillow_gaussian, "edge", ROUGH),
    Peer("libvips gaussblur", "pyvips", "gaussian", vips_gaussian, "edge", ROUGH),
    Peer("libvips gaussblur .001 float", "pyvips", "gaussian", vips_gaussian_precise, "edge", FAITHFUL),
    Peer("SciPy gaussian_filter f32", "scipy", "gaussian", scipy_gaussian, "reflect", FAITHFUL),
    Peer("scikit-image gaussian f32", "skimage", "gaussian", skimage_gaussian, "reflect", FAITHFUL),
    Peer("OpenCV filter2D u8", "cv2", "bokeh", opencv_disk, "reflect", FAITHFUL),
    Peer("OpenCV filter2D f32", "cv2", "bokeh", opencv_disk_float, "reflect", FAITHFUL),
    Peer("SciPy fftconvolve f32", "scipy", "bokeh", scipy_disk, "reflect", FAITHFUL),
)
