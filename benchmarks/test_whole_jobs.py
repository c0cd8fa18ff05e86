"""Packages that do the whole job, through their own code, given the same mask in place of their model's."""

from __future__ import annotations

import functools
import importlib

import numpy as np
import pytest

from . import truth
from .peers import ROUGH
from .test_road import BOUNDS
from .truth import Error

SIGMA = 15  # pixels: transparent-background's blur has no other
JOB = f"gaussian, sigma {SIGMA} px"


@pytest.fixture(autouse=True)
def on_the_cpu(place):
    if place.name != "cpu":
        pytest.skip("these packages blur and paste on the CPU")


def test_gpublur(centre, editor, road_error, measure):
    radius = SIGMA / centre.pixels_of(1)
    measure(
        lambda: editor.blur_background(centre.photo, "gaussian", radius, mask=centre.mask),
        who="gpublur high", job=JOB, megapixels=centre.megapixels,
        error=road_error("gaussian", SIGMA), bound=BOUNDS["gaussian", "high"],
    )  # fmt: skip


def test_transparent_background(centre, measure):
    torch = pytest.importorskip("torch")
    remover = imported("transparent_background").Remover

    def work(photo, mask):
        own = remover.__new__(remover)  # its constructor would download a model
        alpha = torch.from_numpy(mask)[None, None] / 255
        own.device, own.model = "cpu", lambda _x: alpha
        own.cv2_transform = lambda image: {"image": torch.zeros(3, 1, 1)}
        return own.process(photo, type="blur")

    small = truth.crop(centre.photo), truth.crop(centre.mask)
    error = truth.error(work(*small), truth.pasted(*small, "gaussian", SIGMA, "reflect"))
    measure(
        functools.partial(work, *centre[:2]), who="transparent-background", job=JOB, megapixels=centre.megapixels,
        error=error, bound=Error(5, 45),
    )  # fmt: skip


@pytest.mark.parametrize("decontaminate", [False, True])
def test_rembg(decontaminate, centre, measure):
    from PIL import Image

    rembg = imported("rembg")

    class Given:
        def __init__(self, mask):
            self.mask = mask

        def predict(self, _image):
            return [Image.fromarray(self.mask)]

    def work(photo, mask):
        return rembg.remove(photo, session=Given(mask), decontaminate=decontaminate)

    small = truth.crop(centre.photo), truth.crop(centre.mask)
    alpha = small[1][..., None] / 255
    # By default colour is left multiplied by alpha; decontaminated it is estimated, and compared where it is known.
    want = np.concatenate([small[0] / 255 * (1 if decontaminate else alpha), alpha], axis=2)
    got = np.asarray(work(*small))
    known = small[1] == 255 if decontaminate else np.ones_like(small[1], bool)
    error = truth.error(got[known], want[known])
    assert np.abs(got[..., 3].astype(int) - small[1]).max() <= 1
    measure(
        functools.partial(work, *centre[:2]), who=f"rembg{', decontaminated' * decontaminate}",
        job="remove_background", megapixels=centre.megapixels, error=error,
        bound=ROUGH if decontaminate else Error(1.1, 45),
    )  # fmt: skip


def imported(name):
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # rembg ends the process where onnxruntime is missing
        pytest.skip(f"{name}: {type(error).__name__}: {error}")
