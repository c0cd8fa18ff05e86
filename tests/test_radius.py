"""A radius in pixels is a fraction of the diagonal; what is neither says how it would be written."""

import numpy as np
import pytest

import gpublur
from gpublur import BlurSpec, Edit, InvalidArgument, optics

PHOTO = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)  # the diagonal is 200
MASK = np.eye(120, 160, dtype=bool)


@pytest.mark.parametrize("written", ["4px", " 4 px", "4.0px"])
def test_pixels_blur_as_the_fraction_does(written):
    assert BlurSpec(radius=written).checked().radius == "4px"
    want = gpublur.blur_background(PHOTO, radius=0.02, mask=MASK, device="cpu")
    np.testing.assert_array_equal(gpublur.blur_background(PHOTO, radius=written, mask=MASK, device="cpu"), want)
    np.testing.assert_array_equal(
        gpublur.bokeh_blur(PHOTO, written, device="cpu"), gpublur.bokeh_blur(PHOTO, 0.02, device="cpu")
    )


def test_pixels_in_an_edit_of_a_falling_radius():
    edits = [Edit(blur=BlurSpec(radius=radius), focus="linear") for radius in ("4px", 0.02)]
    results = [gpublur.apply(PHOTO, edit, mask=MASK, device="cpu") for edit in edits]
    np.testing.assert_array_equal(*results)


def test_pixels_of_each_picture():
    assert optics.radius_px("4px", 120, 160) == optics.radius_px("4px", 1200, 1600) == 4
    assert optics.fraction("4px", 1200, 1600) == pytest.approx(0.002)
    assert optics.fraction(0.03, 7, 9) == 0.03


def test_more_pixels_than_a_picture_takes():
    with pytest.raises(InvalidArgument, match=r"radius='12px' .* 160 x 120 pixels takes: 10px, 0.05 of the diagonal"):
        gpublur.blur_background(PHOTO, radius="12px", mask=MASK, device="cpu")


@pytest.mark.parametrize("bad", ["0px", "px", "-3px", "12", "1e1px", "12pt", "", True, None, 0, 0.06, float("nan")])
def test_what_is_neither_is_refused(bad):
    with pytest.raises(InvalidArgument, match=r"radius=.*\(0, 0.05\] of the image diagonal, or pixels such as '12px'$"):
        BlurSpec(radius=bad).checked()


def test_a_number_of_pixels_says_how_it_is_written():
    with pytest.raises(InvalidArgument, match="; 12 pixels are '12px'"):
        gpublur.blur_background(PHOTO, radius=12, mask=MASK, device="cpu")
