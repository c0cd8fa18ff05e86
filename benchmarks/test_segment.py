"""The segmentation model: one photo of every size, and batches."""

from __future__ import annotations

import numpy as np
import pytest

from gpublur import arrays, backends, segmentation

BATCHES = (1, 8, 16, 32)
SMALL = 2  # megapixels of a photo in a batch


@pytest.fixture(autouse=True)
def ready():
    status = next(model.status for model in segmentation.models() if model.name == "general")
    if status != "ready":
        pytest.skip(f"the default model: {status}")


def matte(result):
    """Whether a result may be a matte; whether it is the subject's is a matter of the model's own figures."""
    return bool(np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1)


def test_segment(centre, editor, place, measure):
    given = place.put(centre.photo)
    measure(
        lambda: editor.segment(given), who="gpublur", job="segment", megapixels=centre.megapixels,
        check=lambda result: matte(place.get(result)),
    )  # fmt: skip


def test_segment_size(size, scene_of, editor, place, measure):
    test_segment(scene_of(size), editor, place, measure)


@pytest.mark.parametrize("batch", BATCHES)
def test_model(batch, pytestconfig, scene_of, place, measure):
    """The network alone, without the matte at the photo's own size; photos in a batch are equal, and so are masks."""
    photo = scene_of(min(SMALL, pytestconfig.getoption("megapixels"))).photo
    model = segmentation.load("general", place.name)
    if place.name == "cpu":
        call, masks = (lambda: model.batch([photo] * batch)), np.asarray
    else:
        import torch

        given = torch.from_numpy(photo).to(place.name).expand(batch, *photo.shape)
        [picture] = arrays.read(given, "NHWC", gpu=True, whole=True).pictures
        shrink = backends.load(place.name)[0].shrink
        call, masks = (lambda: model.find(picture, shrink)), (lambda result: result.cpu().numpy())

    def right(result):
        found = masks(result)
        return len(found) == batch and matte(found) and bool(np.abs(found - found[0]).max() < 1e-3)

    measure(
        call, who="gpublur", job="segmentation model", megapixels=photo.shape[0] * photo.shape[1] / 1e6, batch=batch,
        check=right,
    )  # fmt: skip
