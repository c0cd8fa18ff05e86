"""Each option of PhotoRoom's and Claid's dialects: two requests whose pictures differ as the option's words say."""

import numpy as np
import pytest
from conftest import find_ellipse, matte, scene

from gpublur import dialects, edits, geometry, image_io
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


def seen(picture):
    """The top, left, bottom and right of what is not transparent."""
    rows, columns = geometry.bounds(picture[..., 3].astype(np.float32) / 255)
    return rows.start, columns.start, rows.stop, columns.stop


def near(found, expected, by=2):
    np.testing.assert_allclose(found, expected, atol=by)


def test_padding_and_margin(pixels):
    size = {"outputSize": "200x100", NO_SNAP: "false"}
    top, left, bottom, right = seen(pixels(size))  # upright: the height limits it
    near((top, bottom), (0, 100))
    near(left, 200 - right)
    near(seen(pixels(size | {"padding": "0.2"}))[::2], (20, 80))
    near(seen(pixels(size | {"padding": "10%", "paddingTop": "30px"}))[::2], (30, 90))
    near(seen(pixels(size | {"margin": "0.1", "padding": "0.1"}))[::2], (18, 82))  # 10 % of what the margin leaves
    near(seen(pixels(size | {"marginLeft": "0.4", "horizontalAlignment": "left"}))[1], 80)
    whole = pixels(PLAIN | {"padding": "25%", "background.color": "red"})
    assert (whole[:30] == (255, 0, 0)).all()
    assert not (whole[HEIGHT // 2, WIDTH // 2] == (255, 0, 0)).all()


NO_SNAP = "ignorePaddingAndSnapOnCroppedSides"


def test_scaling(pixels):
    size = {"outputSize": "200x100", NO_SNAP: "false"}
    near(seen(pixels(size | {"scaling": "fit"})), seen(pixels(size)))
    filled = pixels(size | {"scaling": "fill"})
    assert (filled[50, :, 3] > 128).mean() > 0.9
    near(seen(pixels(size | {"scaling": "fill", "padding": "0.2"})), (20, 40, 80, 160))


def test_alignment(pixels):
    size = {"outputSize": "300x100"}
    width = seen(pixels(size))[3] - seen(pixels(size))[1]
    for word, left in [("left", 0), ("center", (300 - width) / 2), ("right", 300 - width)]:
        near(seen(pixels(size | {"horizontalAlignment": word}))[1], left)
    size = {"outputSize": "100x400", NO_SNAP: "false"}
    height = seen(pixels(size))[2] - seen(pixels(size))[0]
    for word, top in [("top", 0), ("center", (400 - height) / 2), ("bottom", 400 - height)]:
        near(seen(pixels(size | {"verticalAlignment": word}))[0], top)


def test_a_subject_that_the_edge_cuts_stays_there(pixels):
    cut = np.dstack([PHOTO, np.zeros((HEIGHT, WIDTH), np.uint8)])
    cut[60:, 50:90, 3] = 255  # down to the lower edge
    size = {"outputSize": "100x400", "padding": "0.1", "keepExistingAlphaChannel": "auto"}
    near(seen(pixels(size, cut, "PNG"))[::2], (280, 400))
    near(seen(pixels(size | {"margin": "10%"}, cut, "PNG"))[2], 360)  # a margin stays
    free = size | {NO_SNAP: "false"}
    near(seen(pixels(free, cut, "PNG"))[::2], (140, 260))
    near(seen(pixels(size | {"verticalAlignment": "top"}, cut, "PNG"))[0], 40)


def test_reference_box(pixels):
    whole = pixels({"padding": "25%", "referenceBox": "originalImage"})
    near(seen(whole), np.add(np.divide(seen(pixels({})), 2), (HEIGHT / 4, WIDTH / 4) * 2))
    assert seen(pixels({"padding": "25%"})) != seen(whole)
    assert seen(pixels({"padding": "25%", "referenceBox": "subjectBox"})) == seen(pixels({"padding": "25%"}))


def test_most_width_and_height(pixels):
    assert pixels({"maxWidth": "80"}).shape[:2] == (HEIGHT // 2, WIDTH // 2)
    assert pixels(PLAIN | {"maxHeight": "30"}).shape[:2] == (30, 40)
    assert pixels({"maxWidth": "999", "maxHeight": "999"}).shape[:2] == (HEIGHT, WIDTH)
    assert pixels({"outputSize": "croppedSubject", "maxHeight": "20"}).shape[0] == 20


def test_background_picture(pixels):
    ground = np.zeros((20, 20, 3), np.uint8)
    ground[:10] = 255, 0, 0
    request = {"background.imageFile": image_io.encode(Photo(ground))}
    filled = pixels(request)
    assert filled.shape == (HEIGHT, WIDTH, 3)
    assert filled[0, 0].tolist() == [255, 0, 0]
    assert filled[-1, -1].tolist() == [0, 0, 0]
    fitted = pixels(request | {"background.scaling": "fit"})
    assert fitted[0, 0].tolist() == [0, 0, 0, 0]  # it is a square, the picture wide
    assert fitted[0, WIDTH // 2].tolist() == [255, 0, 0, 255]
    assert pixels(request | {"background.scaling": "fit", "background.color": "lime"})[0, 0].tolist() == [0, 255, 0]


def test_density(result):
    assert image_io.decode(result({"export.dpi": "300"})).dpi == pytest.approx((300, 300), abs=0.1)


def test_preserved_metadata(torch):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    photo = Photo(PHOTO, "PNG", xmp=xmp, comment=b"where I live")
    for preserve, kept in [("never", None), ("xmp", xmp)]:
        edit = edits.check(dialects.read(PLAIN | {"preserveMetadata": preserve}).edit)
        written = image_io.decode(edits.write(Editor("cpu").edit_photo(edits.prepare(photo, edit), edit), edit))
        assert (written.xmp, written.comment) == (kept, None)


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
