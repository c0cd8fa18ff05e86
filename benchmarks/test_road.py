"""The whole road of one photo: what a caller waits for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference

from gpublur import codec, segmentation

from . import truth
from .truth import Error

RADII = (0.002, 0.005, 0.01, 0.03, 0.05)
CASES = [("high", radius) for radius in RADII]
CASES += [(quality, radius) for quality in ("fast", "exact") for radius in (0.01, 0.05)]

# The contract (docs/maths.md, table to (6)) and 0.5 for the rounding to 8 bits. Decimated disks are held to their PSNR:
# single pixels on the rims of lamps say little.
BOUNDS = {
    ("gaussian", "exact"): Error(0.6, 58),
    ("gaussian", "high"): Error(0.6, 58),
    ("gaussian", "fast"): Error(math.inf, 47),
    ("bokeh", "exact"): Error(0.6, 58),
    ("bokeh", "high"): Error(math.inf, 55),
    ("bokeh", "fast"): Error(math.inf, 47),
}


@pytest.mark.parametrize(("quality", "radius"), CASES)
@pytest.mark.parametrize("mode", ["gaussian", "bokeh"])
def test_blur_background(mode, quality, radius, photo, mask, editor, road_error, measure):
    error = road_error(mode, radius, quality)
    assert error.within(BOUNDS[mode, quality]), error
    measure(
        lambda: editor.blur_background(photo, mode, radius, quality=quality, mask=mask),
        who=f"gpublur {quality}", job=mode, radius=radius, error=error,
    )  # fmt: skip


def test_remove_background(photo, mask, small, editor, measure):
    picture, matte = small
    want = reference.remove_background(picture / 255, matte / 255)
    error = truth.error(editor.remove_background(picture, mask=matte), want)
    assert error.within(Error(0.6, 58)), error
    measure(lambda: editor.remove_background(photo, mask=mask), who="gpublur", job="remove_background", error=error)


@pytest.mark.parametrize("mode", ["gaussian", "bokeh"])
def test_jpeg_to_jpeg(mode, photo, editor, threads, measure):
    """Bytes to bytes with the default model; whether its mask is right is a matter of the model's own figures."""
    status = next(model.status for model in segmentation.models() if model.name == "general")
    if status != "ready":
        pytest.skip(f"the default model: {status}")
    import torch

    torch.set_num_threads(threads)
    given = codec.encode(codec.Photo(photo, "JPEG"))

    def job() -> bytes:
        picture = codec.decode(given)
        picture.pixels = editor.blur_background(picture.pixels, mode)
        return codec.encode(picture)

    back = codec.decode(job())
    assert (back.format, back.pixels.shape) == ("JPEG", photo.shape)
    measure(job, who="gpublur high", job=f"JPEG to JPEG ({mode})", radius=0.01)


def test_copy(photo, measure):
    """The yardstick: nothing that writes a photo can be faster."""
    out = np.empty_like(photo)
    measure(lambda: np.copyto(out, photo), who="NumPy", job="copy", moved=2 * photo.nbytes)
