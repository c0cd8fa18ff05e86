"""The one value of an edit: its checks, and how large a result becomes."""

import numpy as np
import pytest

from gpublur import color, geometry
from gpublur.checks import paint
from gpublur.errors import InvalidArgument, NoSubject
from gpublur.types import BlurSpec, Edit, Resize, Subject


@pytest.mark.parametrize(
    ("value", "rgba"),
    [
        ("red", (255, 0, 0, 255)),
        ("#C5C6FF", (197, 198, 255, 255)),
        ("#C5C6FF80", (197, 198, 255, 128)),
        ((1, 2, 3), (1, 2, 3, 255)),
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ("transparent", None),
        ("#12345600", None),
        (None, None),
    ],
)
def test_paint(value, rgba):
    assert paint("color", value) == rgba


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remove": 1}, "remove=1 is not True or False"),
        ({"remove": True, "blur": BlurSpec()}, "remove=True and blur exclude each other"),
        ({"color": "redd"}, "color='redd' is not a colour"),
        ({"color": (1, 2)}, "three integers in 0..255"),
        ({"blur": "bokeh"}, "blur='bokeh' is not a BlurSpec"),
        ({"blur": BlurSpec(radius=0.06)}, r"radius=0.06 is not a number in \(0, 0.05\]"),
        ({"focus": "soft"}, "focus='soft' is not one of 'uniform', 'linear'"),
        ({"subject": None}, "subject=None is not a Subject"),
        ({"subject": Subject(category="")}, "subject.category='' is not a text"),
        ({"subject": Subject(prompt=3)}, "subject.prompt=3 is not a text"),
        ({"subject": Subject(use_alpha="auto")}, "subject.use_alpha='auto' is not True or False"),
        ({"clip": "yes"}, "clip='yes' is not True or False"),
        ({"resize": (3, 4)}, r"resize=\(3, 4\) is not a Resize"),
        ({"resize": Resize()}, "give at least one of them"),
        ({"resize": Resize("auto", None)}, "give at least one of them"),
        ({"resize": Resize(0)}, "resize.width=0 is not a whole number of pixels above 0, a percentage or 'auto'"),
        ({"resize": Resize(3, "0%")}, "resize.height='0%' is not"),
        ({"resize": Resize(3, fit="fill")}, "resize.fit='fill' is not one of 'crop', 'bounds', 'cover', 'canvas'"),
        ({"resize": Resize(margin=(1, 2))}, r"resize.margin=\(1, 2\) is not a tuple of four lengths"),
        ({"resize": Resize(9, 9, padding=((0, 0, 0, -1),))}, r"resize.padding\[0\]\[3\]=-1 is not a whole number"),
        ({"resize": Resize(9, 9, "bounds", scale="50%")}, "resize.scale needs both sides"),
        ({"resize": Resize(9, "auto", "canvas", scale="50%")}, "resize.scale needs both sides"),
        ({"resize": Resize(9, align=(0, 2))}, r"resize.align\[1\]=2 is not a number in \[0, 1\]"),
        ({"resize": Resize(max_width=0)}, "resize.max_width=0 is not"),
        ({"resize": Resize(fit="canvas")}, "give at least one of them"),
        ({"subject": Subject(region=(0, 0, 1))}, "subject.region=.* is not a tuple of four lengths"),
        ({"subject": Subject(region=(0, 0, 1, 1), use_alpha=True)}, "exclude each other"),
        ({"matte": True}, "matte=True needs remove=True"),
        ({"matte": True, "remove": True, "color": "red"}, "matte=True excludes color, background"),
        ({"background_fit": "fill"}, "background_fit='fill' is not one of 'crop', 'canvas'"),
        ({"metadata": "exif"}, "metadata='exif' is not True or False"),
        ({"dpi": 0}, "dpi=0 is not"),
        ({"jpeg_quality": 101}, r"jpeg_quality=101 is not a number in \[1, 100\]"),
        ({"srgb": None}, "srgb=None is not True or False"),
    ],
)
def test_an_edit_is_checked(options, message):
    with pytest.raises(InvalidArgument, match=message):
        Edit(**options).checked()


def test_a_checked_edit_is_filled_in():
    edit = Edit(color="white", blur=BlurSpec("bokeh")).checked()
    assert (edit.color, edit.blur.highlights) == ((255, 255, 255, 255), 0.3)
    assert edit.checked() == edit


@pytest.mark.parametrize(
    ("resize", "drawn", "canvas"),  # of a region of 100 x 200 in a picture of 400 x 600, height first
    [
        (Resize(50, 50, "crop"), (50, 100), (50, 50)),
        (Resize(50, None, "crop"), (100, 200), (100, 50)),  # the other side stays
        (Resize(400, None, "crop"), (200, 400), (100, 400)),
        (Resize(50, "auto", "crop"), (25, 50), (25, 50)),
        (Resize(None, 50, "bounds"), (50, 100), (50, 100)),
        (Resize(100, 100, "bounds"), (50, 100), (50, 100)),
        (Resize(100, 100, "cover"), (100, 200), (100, 200)),
        (Resize(100, 100, "canvas"), (50, 100), (100, 100)),
        (Resize(100, None, "canvas"), (50, 100), (50, 100)),
        (Resize("100%", "100%", "canvas"), (300, 600), (400, 600)),  # of the whole picture
        (Resize("50%", "auto", "bounds"), (150, 300), (150, 300)),
        (Resize("0.001%", None, "bounds"), (1, 1), (1, 1)),
        (Resize(1, 1, "crop"), (1, 2), (1, 1)),
    ],
)
def test_frame(resize, drawn, canvas):
    assert geometry.frame((100, 200), (400, 600), resize)[:2] == (drawn, canvas)


@pytest.mark.parametrize("fit", ["crop", "canvas"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (3, 7), (40, 41)])
def test_crop_and_canvas_are_exactly_as_asked(fit, size):
    for region in [(1, 1), (5, 31), (13, 6), (99, 98)]:
        frame = geometry.frame(region, region, Resize(size[1], size[0], fit))
        picture = geometry.put(np.zeros((*frame.drawn, 3), np.uint8), frame.canvas, None)
        assert frame.canvas == picture.shape[:2] == size
        larger = all(have >= want for have, want in zip(frame.drawn, size, strict=True))
        smaller = all(have <= want for have, want in zip(frame.drawn, size, strict=True))
        assert larger if fit == "crop" else smaller
        assert (picture.shape[2] == 4) == (frame.drawn != size and fit == "canvas")


def test_bounds():
    matte = np.zeros((9, 12), np.float32)
    matte[2:5, 3:9] = 0.2
    matte[3, 4] = 1
    matte[8, 11] = 0.05  # a speck that nobody sees
    assert geometry.bounds(matte) == (slice(2, 5), slice(3, 9))
    matte[3, 4] = 0.4
    with pytest.raises(NoSubject, match="no subject"):
        geometry.bounds(matte)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_paint_behind_is_linear_light(dtype):
    top = color.max_value(dtype)
    grey = np.full((1, 3, 4), 0.5)
    grey[0, :, 3] = 0, 0.5, 1
    pixels = color.from_unit(grey, np.dtype(dtype))
    out = geometry.paint_behind(pixels, (255, 255, 255, 255))
    value, alpha = pixels[0, 1, 0] / top, pixels[0, 1, 3] / top
    light = alpha * ((value + 0.055) / 1.055) ** 2.4 + (1 - alpha)
    mixed = 1.055 * light ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(out[0, :, 0] / top, [1, mixed, value], atol=0.51 / top if top > 1 else 1e-5)
    assert (out.shape, out.dtype) == ((1, 3, 3), dtype)
    tinted = geometry.paint_behind(pixels, (255, 0, 0, 128))
    np.testing.assert_allclose(tinted[0, :, 3] / top, [128 / 255, alpha + (1 - alpha) * 128 / 255, 1], atol=0.51 / top)
    assert tinted[0, 0].tolist() == pytest.approx([top, 0, 0, 128 / 255 * top], abs=0.5)
    assert tinted[0, 1, 0] > tinted[0, 1, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_draw_keeps_hidden_colours_hidden(dtype):
    top = color.max_value(dtype)
    pixels = np.zeros((8, 8, 4), dtype)
    pixels[:, :4] = (0, top, 0, top)
    pixels[:, 4:] = (top, 0, 0, 0)  # red that nobody may see
    out = geometry.draw(pixels, (5, 5))
    seen = out[..., 3] > 0.02 * top
    assert (out[..., 0][seen] <= 0.02 * top).all()
    assert (out.shape, out.dtype) == ((5, 5, 4), dtype)
    assert geometry.draw(pixels, (8, 8)) is pixels


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_put_fills_with_the_colour(channels):
    pixels = np.full((2, 2, channels), 9, np.uint8)
    out = geometry.put(pixels, (4, 2), (1, 2, 3, 255))
    assert out.shape == (4, 2, max(3, channels))
    assert out[0, 0].tolist() == [1, 2, 3, 255][: out.shape[2]]
    assert (out[1:3, :, :3] == 9).all()
    assert geometry.put(pixels, (4, 2), None)[3, 0].tolist() == [0, 0, 0, 0]
    assert geometry.put(pixels, (1, 2), None).shape == (1, 2, channels)


@pytest.mark.parametrize(
    ("resize", "drawn", "canvas", "corner"),  # of a region of 100 x 200 at (300, 40) in a picture of 400 x 600
    [
        (Resize(margin=(10, "50%", 20, 0)), (100, 200), (130, 300), (10, 0)),
        (Resize(400, 400, "canvas", padding=((10, 10, 10, 10), ("10%", 0, 0, 0))), (190, 380), (400, 400), (124, 10)),
        (Resize("100%", "100%", "canvas", scale="original", align=(0, 1)), (100, 200), (400, 600), (300, 0)),
        (Resize("100%", "100%", "canvas", scale="original", align="keep"), (100, 200), (400, 600), (300, 40)),
        (Resize("100%", "100%", "canvas", scale="50%"), (150, 300), (400, 600), (125, 150)),
        (Resize(200, 400, "canvas", snap=(True, True)), (100, 200), (400, 200), (300, 0)),  # cut below
        (Resize(None, None, "canvas", padding=((0, 50, 0, 50),)), (50, 100), (100, 200), (25, 50)),
        (Resize(max_width=100), (50, 100), (50, 100), (0, 0)),
        (Resize(max_pixels=5000), (50, 100), (50, 100), (0, 0)),
        (Resize(400, 400, "canvas", max_height=200), (100, 200), (200, 200), (50, 0)),
    ],
)
def test_where_a_region_is_put(resize, drawn, canvas, corner):
    assert resize.checked()
    frame = geometry.frame((100, 200), (400, 600), resize, (300, 40))
    assert (frame.drawn, frame.canvas, frame.place.corner) == (drawn, canvas, corner)
    picture = geometry.put(np.ones((*frame.drawn, 3), np.uint8), frame.canvas, None, frame.place)
    assert picture.shape[:2] == canvas


def test_padding_is_spared_where_the_edge_cuts():
    resize = Resize(400, 400, "canvas", padding=((10, 10, 10, 10), (50, 50, 50, 50)), snap=(True, True))
    frame = geometry.frame((100, 200), (400, 600), resize, (300, 40))
    assert frame.place.area == (slice(60, 390), slice(60, 340))  # the margin stays
    assert frame.place.corner[0] + frame.drawn[0] == 390


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_picture_behind_is_as_a_colour_behind(dtype):
    pixels = color.from_unit(np.random.default_rng(0).random((6, 7, 4)), np.dtype(dtype))
    pixels[0, :, 3] = 0
    for rgba in ((9, 80, 200, 255), (9, 80, 200, 70)):
        ground = np.broadcast_to(np.array(rgba, np.uint8), (3, 3, 4))
        behind = geometry.picture_behind(pixels, geometry.backdrop(ground, "crop", (6, 7), dtype))
        expected = geometry.paint_behind(pixels, rgba)
        assert behind.shape == expected.shape
        top = color.max_value(dtype)
        np.testing.assert_allclose(behind / top, expected / top, atol=1.01 / top if top > 1 else 1e-5)


def test_a_background_is_one_picture():
    for bad, words in [(b"x", "background: is not a picture"), (np.zeros((2, 3, 3, 3)), "holds 2 pictures")]:
        with pytest.raises(InvalidArgument, match=words):
            geometry.backdrop(bad, "crop", (4, 4), np.uint8)
