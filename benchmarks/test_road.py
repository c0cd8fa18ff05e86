"""The whole blur with a mask given: every radius, quality, size, type and batch.

By default a star: each case differs in one thing from a photo of --megapixels, uint8, quality high; --full: the grid.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference

from gpublur import bench

from . import scene, truth
from .truth import Error

RADII = (0.002, 0.005, 0.01, 0.03, 0.05)
MODES = ("gaussian", "bokeh")
TYPES = ("uint16", "float16", "float32")
BATCHES = (8, 32)
SMALL = 2  # megapixels of a photo in a batch

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
CUT = Error(0.6, 58)


@pytest.fixture
def blurred(editor, place, road_error, measure):
    """Measure one case; all others are alike."""

    def run(where, mode, radius, quality="high", dtype="uint8", batch=1):
        photo = scene.as_type(where.photo, dtype)
        given = place.put(photo if batch == 1 else np.stack([photo] * batch))
        mask = place.put(where.mask if batch == 1 else np.stack([where.mask] * batch))
        measure(
            lambda: editor.blur_background(given, mode, radius, quality=quality, mask=mask),
            who=f"gpublur {quality}", job=mode, radius=radius, megapixels=where.megapixels, dtype=dtype, batch=batch,
            error=road_error(mode, where.pixels_of(radius), quality, dtype), bound=BOUNDS[mode, quality],
            moved=batch * bench.two_reads(photo, where.mask),
        )  # fmt: skip

    return run


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("mode", MODES)
def test_radius(mode, radius, centre, blurred):
    blurred(centre, mode, radius)


@pytest.mark.parametrize(("quality", "radius"), [("fast", 0.01), ("fast", 0.05), ("exact", 0.01)])
@pytest.mark.parametrize("mode", MODES)
def test_quality(mode, quality, radius, centre, blurred):
    blurred(centre, mode, radius, quality)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_type(mode, dtype, centre, blurred):
    blurred(centre, mode, 0.01, dtype=dtype)


@pytest.mark.parametrize("mode", MODES)
def test_size(mode, size, scene_of, blurred):
    blurred(scene_of(size), mode, 0.01)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("mode", MODES)
def test_batch(mode, batch, pytestconfig, scene_of, blurred):
    blurred(scene_of(min(SMALL, pytestconfig.getoption("megapixels"))), mode, 0.01, batch=batch)


@pytest.mark.parametrize("batch", [1, *BATCHES])
@pytest.mark.parametrize("dtype", ["uint8", *TYPES])
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("quality", ["high", "fast", "exact"])
@pytest.mark.parametrize("mode", MODES)
def test_grid(mode, quality, radius, dtype, batch, size, scene_of, blurred):
    blurred(scene_of(size), mode, radius, quality, dtype, batch)


def test_remove_background(centre, editor, place, measure):
    picture, matte = truth.crop(centre.photo), truth.crop(centre.mask)
    error = truth.error(
        place.get(editor.remove_background(place.put(picture), mask=place.put(matte))),
        reference.remove_background(picture / 255, matte / 255),
    )
    given, mask = place.put(centre.photo), place.put(centre.mask)
    measure(
        lambda: editor.remove_background(given, mask=mask),
        who="gpublur", job="remove_background", megapixels=centre.megapixels, error=error, bound=CUT,
        moved=bench.two_reads(centre.photo, centre.mask) + centre.mask.nbytes,  # the result has alpha
    )  # fmt: skip


def test_copy(centre, measure):
    """The yardstick: nothing that writes a photo can be faster."""
    out = np.empty_like(centre.photo)
    measure(
        lambda: np.copyto(out, centre.photo), who="NumPy, 1 thread", job="copy", megapixels=centre.megapixels,
        check=lambda _: np.array_equal(out, centre.photo), moved=2 * centre.photo.nbytes, on=bench.Place(),
    )  # fmt: skip
