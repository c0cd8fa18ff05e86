"""The measures of benchmarks/matte.py, on mattes whose errors are known."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")
from benchmarks import matte

WIDTH = 300  # of a square, whose diagonal is 424 pixels


def half(edge, soft=0.0):
    """Subject left of column ``edge``; ``soft`` pixels of ramp around it."""
    columns = np.clip((edge - np.arange(WIDTH) - 0.5) / max(soft, 1e-6) + 0.5, 0, 1)
    return np.repeat(columns[None], WIDTH, 0).astype(np.float32)


def test_the_true_matte_has_no_errors():
    for soft in (0, 9):
        errors = matte.Truth(half(150, soft)).errors(half(150, soft))
        assert errors[0] == errors[2] == errors[3] == 0
        assert errors.distance * 0.424 == pytest.approx(0.5, abs=0.01)  # of the first pixel beyond the edge


def test_a_shifted_edge():
    errors = matte.Truth(half(150)).errors(half(153))
    assert errors.boundary == pytest.approx(100 * 3 / 8)  # the band: pixels whose centres are within 4.24 of the edge
    assert errors.distance * 0.424 == pytest.approx(3.5, abs=0.1)
    assert errors.sad == pytest.approx(100 * 3 / WIDTH)


def test_a_blurred_edge():
    truth = matte.Truth(half(150))
    sharp, soft, softer = (truth.errors(half(150, soft)).gradient for soft in (0, 4, 12))
    assert sharp == 0
    assert 0.1 < soft < softer
    assert truth.errors(np.zeros_like(truth.alpha)).gradient > softer


def test_gradient_of_a_ramp():
    ramp = half(150, 200)
    np.testing.assert_allclose(matte.gradient(ramp, 400)[10:-10, 100:200], 1.4 / 200, rtol=1e-4)


def test_coarsened_masks_keep_their_edge():
    coarse = matte.coarsened(half(150))
    assert coarse.shape == (320, 320)
    np.testing.assert_allclose(coarse.mean(), 0.5, atol=1e-3)
    assert ((coarse > 0.05) & (coarse < 0.95)).mean(axis=1).max() > 4 / 320


def test_a_folder_is_measured(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    photo = (half(150)[..., None] * 120 + rng.integers(0, 60, (WIDTH, WIDTH, 3))).astype(np.uint8)
    for kind in ("a", "b"):
        Image.fromarray(photo).save(tmp_path / f"images/{kind}_1.jpg")
        Image.fromarray((half(150) * 255).astype(np.uint8)).save(tmp_path / f"masks/{kind}_1.png")
    kind, enlarged, alpha = next(matte.pairs(tmp_path, 0.36))
    assert (kind, enlarged.shape, alpha.shape) == ("a", (600, 600, 3), (600, 600))
    assert set(np.unique(alpha)) == {0, 1}
    found = dict(matte.measure(tmp_path, None, lambda photo: matte.coarsened(half(150))))
    assert found.keys() == {(mask, kind) for mask in ("model's", "true, coarsened") for kind in ("a", "b")}
    for pairs in found.values():
        ((before, after),) = pairs
        assert after.boundary < 0.5 * before.boundary
