"""Each option of both dialects: two requests whose pictures differ as the option's words say."""

import numpy as np
import pytest
from conftest import find_ellipse, matte, scene

from gpublur import dialects, edits, image_io
from gpublur.api import Editor
from gpublur.image_io import Photo

HEIGHT, WIDTH = 120, 160
PHOTO = np.rint(scene(HEIGHT, WIDTH, seed=3) * 255).astype(np.uint8)
AROUND = matte(HEIGHT, WIDTH) == 0
SHARP = matte(HEIGHT, WIDTH) == 1
PLAIN = {"removeBackground": "false"}
BOKEH = PLAIN | {"background.blur.mode": "bokeh"}


@pytest.fixture(scope="module")
def result(torch):
    editor = Editor("cpu", find_ellipse)

    def make(request, pixels=PHOTO, format="JPEG"):
        edit = edits.check(dialects.read(request).edit)
        photo = edits.prepare(Photo(pixels, format), edit)
        return edits.write(editor.edit_photo(photo, edit), edit)

    return make


@pytest.fixture(scope="module")
def pixels(result):
    return lambda *args: image_io.decode(result(*args)).pixels


def claid(**background):
    return {"operations": {"background": background}, "output": {"format": "png"}}


def roughness(picture, where=AROUND):
    """How much neighbouring pixels differ."""
    steps = np.abs(np.diff(picture[..., :3].astype(float), axis=1)).sum(-1)
    return steps[where[:, 1:] & where[:, :-1]].mean()


def test_remove_background(pixels):
    assert pixels(PLAIN).shape == (HEIGHT, WIDTH, 3)
    cut = pixels({})
    assert (cut[..., 3][AROUND] < 20).mean() > 0.95
    assert (cut[..., 3][SHARP] > 235).mean() > 0.95


def test_blur_mode(pixels):
    bokeh, gaussian = (
        pixels(BOKEH | {"background.blur.mode": mode, "background.blur.radius": "0.04"}) for mode in MODES
    )
    # Lamps become disks with rims in one, and fade evenly in the other.
    assert roughness(bokeh) > 1.2 * roughness(gaussian)
    for picture in (bokeh, gaussian):
        assert roughness(picture) < 0.5 * roughness(PHOTO)
        assert np.abs(picture[SHARP].astype(int) - PHOTO[SHARP]).mean() < 1


MODES = ("bokeh", "gaussian")


@pytest.mark.parametrize("mode", MODES)
def test_blur_radius(pixels, mode):
    rough = [roughness(pixels(BOKEH | {"background.blur.mode": mode, "background.blur.radius": r})) for r in RADII]
    assert rough[0] > 1.1 * rough[1] > 1.2 * rough[2]
    default = pixels(BOKEH | {"background.blur.mode": mode})
    np.testing.assert_array_equal(
        default, pixels(BOKEH | {"background.blur.mode": mode, "background.blur.radius": "0.01"})
    )


RADII = ("0.01", "0.03", "0.05")


def test_background_color(pixels):
    for color, rgba in [("FF0000", (255, 0, 0)), ("#00ff0080", (0, 255, 0, 128)), ("navy", (0, 0, 128))]:
        picture = pixels({"background.color": color})
        corner = picture[0, 0].tolist()
        assert corner == list(rgba), color
    assert pixels({})[0, 0, 3] == 0  # transparent by default


@pytest.mark.parametrize("format", ["png", "jpeg", "jpg", "webp", "avif"])
def test_export_format(result, format):
    photo = image_io.decode(result({"export.format": format}))
    assert photo.format == {"jpg": "JPEG"}.get(format, format.upper())
    corner = photo.pixels[0, 0]
    assert (corner[:3] > 250).all() if photo.format == "JPEG" else corner[3] == 0


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_export_quality(result, format):
    sizes = [len(result(BOKEH | {"export.format": format, "export.quality": quality})) for quality in ("10", "95")]
    assert sizes[0] < 0.7 * sizes[1]


def test_output_size(pixels):
    for size in ("auto", "originalImage"):
        assert pixels({"outputSize": size}).shape[:2] == (HEIGHT, WIDTH)
    cropped = pixels({"outputSize": "croppedSubject"})
    assert cropped.shape[0] < HEIGHT
    assert cropped.shape[1] < 0.7 * WIDTH
    square = pixels({"outputSize": "90x90", "background.color": "red"})
    assert square.shape == (90, 90, 3)
    assert (square[:, 0] == (255, 0, 0)).all()  # the subject is upright: it is filled beside it
    assert not (square[45] == (255, 0, 0)).all()
    whole = pixels(PLAIN | {"outputSize": "160x200", "background.color": "red"})
    assert (whole[:40] == (255, 0, 0)).all()
    np.testing.assert_array_equal(whole[40:160], PHOTO)


def test_existing_alpha(pixels):
    glass = np.dstack([PHOTO, np.zeros((HEIGHT, WIDTH), np.uint8)])
    glass[10:60, 20:50, 3] = 255
    never, auto = (pixels({"keepExistingAlphaChannel": keep}, glass, "PNG") for keep in ("never", "auto"))
    np.testing.assert_array_equal(auto, glass)
    assert (never[..., 3] != auto[..., 3]).mean() > 0.05


def test_claids_color(pixels):
    assert pixels(claid(remove=True))[0, 0].tolist() == [255, 255, 255]
    assert pixels(claid(remove=True, color="transparent"))[0, 0, 3] == 0
    assert pixels(claid(remove=True, color="#C5C6FF"))[0, 0].tolist() == [197, 198, 255]
    request = claid(remove=True, color="transparent")
    del request["output"]
    assert (pixels(request, PHOTO, "JPEG")[0, 0] > 250).all()  # a format without transparency: white
    assert pixels(request, PHOTO, "WEBP")[0, 0, 3] == 0


@pytest.mark.parametrize("kind", ["regular", "lens"])
def test_claids_levels(pixels, kind):
    rough = [roughness(pixels(claid(blur={"type": kind, "level": level}))) for level in ("low", "medium", "high")]
    assert roughness(PHOTO) > rough[0] > 1.1 * rough[1] > 1.2 * rough[2]
    np.testing.assert_array_equal(
        pixels(claid(blur={"type": kind})), pixels(claid(blur={"type": kind, "level": "medium"}))
    )


def test_claids_types(pixels):
    regular, lens = (pixels(claid(blur={"type": kind})) for kind in ("regular", "lens"))
    assert roughness(lens) > 1.2 * roughness(regular)
    np.testing.assert_array_equal(pixels(claid(blur=True)), regular)
    np.testing.assert_array_equal(pixels(claid(blur=False)), PHOTO)


def test_claids_clipping(pixels):
    def clipped(**resizing):
        request = claid(remove={"clipping": True}, color="transparent")
        request["operations"]["resizing"] = resizing
        return pixels(request)

    same, kept = clipped(), clipped(fit="bounds")
    assert same.shape[:2] == (HEIGHT, WIDTH)
    assert kept.shape[0] < HEIGHT
    seen = lambda picture: (picture[..., 3] > 128).any(axis=1).mean()  # noqa: E731
    assert seen(same) > 0.9 > seen(pixels(claid(remove=True, color="transparent")))  # scaled to the frame
    assert clipped(width=50, fit="bounds").shape[1] == 50
    assert clipped(width=50, height=50, fit="crop").shape[:2] == (50, 50)
    assert clipped(width="200%", height="auto").shape[1] == 2 * WIDTH
    assert clipped(width=77, height=33, fit="canvas").shape[:2] == (33, 77)
    np.testing.assert_array_equal(clipped(fit="crop"), same)


def test_claids_output(result):
    for format in ("jpeg", "png", "webp", "avif"):
        request = claid(blur=True) | {"output": {"format": format}}
        assert image_io.decode(result(request)).format == format.upper()
    sizes = []
    for quality in (10, 95):
        request = claid(blur=True) | {"output": {"format": {"type": "jpeg", "quality": quality}}}
        sizes.append(len(result(request)))
    assert sizes[0] < 0.7 * sizes[1]
