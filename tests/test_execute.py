"""An edit on pictures: what each option changes, on arrays and on files."""

import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import find_ellipse, scene
from PIL import Image, ImageCms

import gpublur
from gpublur import edits, geometry, image_io
from gpublur.api import Editor
from gpublur.errors import InvalidArgument, NoSubject, PictureTooLarge, PromptUnsupported
from gpublur.image_io import Photo
from gpublur.types import BlurSpec, Edit, Resize, Subject

HEIGHT, WIDTH = 90, 120
REMOVE = Edit(remove=True)
BLUR = Edit(blur=BlurSpec("bokeh", 0.03))


@pytest.fixture(scope="module")
def warm(torch):
    return Editor("cpu", find_ellipse)


@pytest.fixture(scope="module")
def photo():
    return np.rint(scene(HEIGHT, WIDTH) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def alpha(warm, photo):
    return warm.segment(photo)


def develop(warm, photo, edit, **options):
    """Bytes in, bytes out, as the command line and the server do it."""
    edit = edits.check(edit)
    photo = edits.prepare(photo, edit)
    return image_io.decode(edits.write(warm.edit_photo(photo, edit, **options), edit))


def test_removal_is_the_editors_own(warm, photo):
    ours = warm.apply(photo, REMOVE)
    whole = warm.remove_background(photo)
    assert np.abs(ours[..., 3].astype(int) - whole[..., 3]).max() <= 1
    assert np.abs(warm.apply(photo, replace(REMOVE, color="#204060")).astype(int) - warm.remove_background(
        photo, "#204060")).max() <= 1  # fmt: skip


def test_a_blur_is_the_editors_own(warm, photo):
    whole = warm.blur_background(photo, "bokeh", 0.03)
    assert np.abs(warm.apply(photo, BLUR).astype(int) - whole).max() <= 2
    assert np.abs(whole.astype(int) - photo).max() > 20


def test_every_blur_option_is_passed_on(warm, photo):
    spec = BLUR.blur
    for change in (
        {"mode": "gaussian"},
        {"radius": 0.01},
        {"highlights": 0.0},
        {"highlight_threshold": (0.1, 0.2)},
        {"quality": "exact"},
        {"linear_light": False},
    ):
        edit = replace(BLUR, blur=replace(spec, **change))
        mask = warm.segment(photo)
        options = {"mode": "bokeh", "radius": 0.03} | change
        np.testing.assert_array_equal(warm.apply(photo, edit), warm.blur_background(photo, mask=mask, **options))
        different = warm.apply(photo, edit) != warm.apply(photo, BLUR)
        assert different.any() or change == {"quality": "exact"}


@pytest.mark.usefixtures("torch")
def test_one_matte_for_everything(photo):
    calls = []

    def model(picture):
        calls.append(picture.shape)
        return find_ellipse(picture)

    editor = Editor("cpu", model)
    editor.apply(photo, replace(BLUR, focus="linear", clip=True, resize=Resize("50%", "50%", "canvas")))
    assert len(calls) == 1
    editor.apply(photo, Edit(resize=Resize(10)))
    assert len(calls) == 1


def test_linear_focus_changes_soft_edges_only(warm, photo):
    matte = np.zeros((HEIGHT, WIDTH), np.float32)
    matte[:, :60] = np.linspace(1, 0, 60)
    uniform, linear = (warm.apply(photo, replace(BLUR, focus=f), mask=matte) for f in ("uniform", "linear"))
    np.testing.assert_array_equal(uniform[:, 60:], linear[:, 60:])
    np.testing.assert_array_equal(linear[:, 0], photo[:, 0])
    # Detail fades from the subject outward: nearer to it, the picture is nearer to the photo than with one radius.
    error = [np.abs(picture[:, 5:30].astype(float) - photo[:, 5:30]).mean() for picture in (uniform, linear)]
    assert error[1] < 0.8 * error[0]


def test_clip(warm, photo, alpha):
    region = geometry.bounds(alpha)
    whole, clipped = (warm.apply(photo, replace(REMOVE, clip=clip)) for clip in (False, True))
    assert clipped.shape[0] < HEIGHT
    assert clipped.shape[1] < WIDTH
    np.testing.assert_array_equal(clipped, whole[region])
    np.testing.assert_array_equal(warm.apply(photo, Edit(clip=True)), photo[region])
    np.testing.assert_array_equal(warm.apply(photo, replace(BLUR, clip=True)), warm.apply(photo, BLUR)[region])


def test_color(warm, photo):
    cut = warm.apply(photo, REMOVE)
    clear = cut[..., 3] == 0
    red = warm.apply(photo, replace(REMOVE, color="red"))
    assert red.shape == photo.shape
    assert (red[clear] == (255, 0, 0)).all()
    veil = warm.apply(photo, replace(REMOVE, color="#ff000040"))
    assert (veil[clear] == (255, 0, 0, 64)).all()
    np.testing.assert_array_equal(veil[cut[..., 3] == 255], cut[cut[..., 3] == 255])


def test_color_fills_what_was_transparent_already(warm, photo):
    glass = np.dstack([photo, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    glass[:20, :, 3] = 0
    assert warm.apply(glass, Edit()).shape[2] == 4
    filled = warm.apply(glass, Edit(color="#010203"))
    assert (filled[:20] == (1, 2, 3)).all()
    np.testing.assert_array_equal(filled[20:], photo[20:])
    assert (warm.apply(glass, BLUR)[..., 3] == glass[..., 3]).all()


def test_resize_and_its_canvas(warm, photo):
    edit = replace(REMOVE, clip=True, resize=Resize("100%", "100%", "canvas"))
    whole = warm.apply(photo, edit)
    assert whole.shape == (HEIGHT, WIDTH, 4)
    seen = whole[..., 3] > 128
    assert max(seen.any(axis=1).sum() / HEIGHT, seen.any(axis=0).sum() / WIDTH) > 0.9  # the subject fills it now
    painted = warm.apply(photo, replace(edit, color="blue"))
    assert (painted[whole[..., 3] == 0] == (0, 0, 255)).all(axis=1).mean() > 0.9
    assert warm.apply(photo, Edit(resize=Resize(30, 40))).shape == (40, 30, 3)
    np.testing.assert_array_equal(warm.apply(photo, Edit(resize=Resize("100%"))), photo)


def test_own_transparency_as_matte(warm, photo):
    glass = np.dstack([photo, np.zeros((HEIGHT, WIDTH), np.uint8)])
    glass[10:30, 40:70, 3] = 255
    auto = Subject(use_alpha=True)
    np.testing.assert_array_equal(warm.apply(glass, replace(REMOVE, subject=auto)), glass)
    clipped = warm.apply(glass, replace(REMOVE, subject=auto, clip=True))
    np.testing.assert_array_equal(clipped, glass[10:30, 40:70])
    never = warm.apply(glass, REMOVE)
    assert (never[..., 3] != glass[..., 3]).any()
    glass[..., 3] = 255  # says nothing: the model decides
    np.testing.assert_array_equal(warm.apply(glass, replace(REMOVE, subject=auto)), warm.apply(glass, REMOVE))


@pytest.mark.parametrize("edit", [REMOVE, Edit(clip=True)])
@pytest.mark.usefixtures("torch")
def test_no_subject(photo, edit):
    nobody = Editor("cpu", lambda picture: picture[0, 0] * 0)
    with pytest.raises(NoSubject, match="no subject was found"):
        nobody.apply(photo, edit)
    assert (nobody.apply(photo, BLUR) != photo).any()  # all is background


def test_words_need_a_model_that_is_not_here(warm, photo):
    for subject in (Subject(prompt="rocket"), Subject(negative_prompt="rocket")):
        with pytest.raises(PromptUnsupported, match=r"subject\..*prompt='rocket': this installation has no model"):
            warm.apply(photo, replace(REMOVE, subject=subject))


def test_category_names_a_model(monkeypatch):
    from gpublur import segmentation
    from gpublur.segmentation import registry

    edit = Edit(subject=Subject("cars"))
    assert edits.model_for(edit) == "cars"
    assert edits.model_for(Edit(subject=Subject("food"))) == "general"
    assert edits.model_for(edit, "other") == "other"
    monkeypatch.setattr(registry, "registered", {})
    segmentation.register("cars", "hub:somebody/cars")
    assert edits.model_for(edit, "other") == "cars"
    assert edits.model_for(Edit(), "other") == "other"


def test_kinds_and_batches(torch, warm, photo):
    out = gpublur.apply(photo, BLUR, model=find_ellipse, device="cpu")
    tensor = torch.from_numpy(np.moveaxis(photo, 2, 0).copy())
    np.testing.assert_array_equal(warm.apply(tensor, BLUR).numpy(), np.moveaxis(out, 2, 0))
    assert warm.apply(Image.fromarray(photo), REMOVE).mode == "RGBA"
    assert warm.apply(np.stack([photo, photo]), REMOVE).shape == (2, HEIGHT, WIDTH, 4)
    small, large = warm.apply([photo[:60], photo], replace(REMOVE, clip=True))
    assert small.shape != large.shape
    for pixels in (scene(HEIGHT, WIDTH), photo.astype(np.uint16) * 257, photo[..., 0]):
        out = warm.apply(pixels, replace(REMOVE, color="#12345680", resize=Resize(50, 50, "canvas")))
        assert (out.shape, out.dtype) == ((50, 50, 4), pixels.dtype)


def test_a_batch_keeps_one_size(warm, photo):
    rng = np.random.default_rng(0)
    masks = [np.zeros((HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))]
    masks[0][3:20, 3:20], masks[1][5:50, 5:50] = 1, 1
    batch = rng.integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(InvalidArgument, match="give a list"):
        warm.apply(batch, replace(REMOVE, clip=True), mask=np.stack(masks))
    first, second = warm.apply(list(batch), replace(REMOVE, clip=True), mask=masks)
    assert (first.shape, second.shape) == ((17, 17, 4), (45, 45, 4))


def test_a_coarse_mask(warm, photo):
    out = warm.apply(photo, replace(REMOVE, clip=True), mask=np.pad(np.ones((3, 4), bool), ((3, 3), (4, 4))))
    assert 20 < out.shape[0] < 40


@pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF"])
def test_transparency_is_kept_where_the_format_can(warm, photo, format):
    out = develop(warm, Photo(photo), replace(REMOVE, format=format))
    assert (out.format, out.pixels.shape) == (format, (HEIGHT, WIDTH, 4))
    assert (out.pixels[..., 3].min(), out.pixels[..., 3].max()) == (0, 255)


def test_jpeg_gets_white(warm, photo, alpha):
    out = develop(warm, Photo(photo), replace(REMOVE, format="JPEG"))
    assert out.pixels.shape == (HEIGHT, WIDTH, 3)
    assert (out.pixels[:20, :20] > 250).all()
    canvas = develop(warm, Photo(photo), Edit(format="JPEG", resize=Resize(200, 90, "canvas")))
    assert (canvas.pixels[:, :30] > 250).all()


def test_a_ready_mask(warm, photo, alpha):
    edit = edits.check(replace(REMOVE, clip=True))
    given = Photo(photo)
    np.testing.assert_array_equal(warm.edit_photo(given, edit, mask=alpha).pixels, warm.edit_photo(given, edit).pixels)
    corner = np.zeros((HEIGHT, WIDTH), bool)
    corner[:9, :8] = True
    assert warm.edit_photo(given, edit, mask=corner).pixels.shape == (9, 8, 4)


def test_format_and_quality(warm, photo):
    assert develop(warm, Photo(photo, format="WEBP"), BLUR).format == "WEBP"
    assert develop(warm, Photo(photo, format="GIF"), BLUR).format == "PNG"  # GIF is read only
    edit = replace(BLUR, format="JPEG")
    sizes = []
    for quality in (20, 90):
        result = edits.write(Photo(photo, format="JPEG"), replace(edit, jpeg_quality=quality))
        sizes.append(len(result))
    assert sizes[0] < 0.6 * sizes[1]
    with pytest.raises(InvalidArgument, match="format='GIF'"):
        edits.check(replace(BLUR, format="GIF"))


def test_size_stays_and_grey_stays_grey(warm, photo):
    assert develop(warm, Photo(photo[..., 0]), BLUR).pixels.shape == (HEIGHT, WIDTH)
    assert develop(warm, Photo(photo), BLUR).pixels.shape == photo.shape
    deep = develop(warm, Photo(photo.astype(np.uint16) * 257), BLUR)
    assert deep.pixels.dtype == np.uint16


def test_too_large_a_result(warm, photo):
    for resize in (Resize(4000, 3000), Resize(20_000, 1, "canvas"), Resize(20_000, "auto", "cover")):
        with pytest.raises(PictureTooLarge, match=r"more than the limit of 0.0108 million"):
            develop(warm, Photo(photo), Edit(resize=resize), max_pixels=10_800)


def profile(name):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def wide():
    """An RGB profile whose red and green are swapped: whoever applies it can be told."""
    icc = bytearray(profile("sRGB"))
    tags = {bytes(icc[132 + 12 * i : 136 + 12 * i]): 136 + 12 * i for i in range(icc[131])}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    icc[red : red + 8], icc[green : green + 8] = icc[green : green + 8], icc[red : red + 8]
    return bytes(icc).replace("sRGB built-in".encode("utf-16-be"), "test built-in".encode("utf-16-be"))


def exif():
    block = Image.Exif()
    block[0x010E] = "taken at home"
    return block.tobytes()


@pytest.mark.parametrize(("srgb", "metadata"), [(False, True), (True, False)])
def test_profile_and_exif(warm, photo, srgb, metadata):
    given = Photo(photo, icc=wide(), exif=exif())
    out = develop(warm, given, Edit(srgb=srgb, metadata=metadata))
    assert out.icc == (None if srgb else given.icc)
    assert (out.exif is None) == (not metadata)
    swapped = photo[..., [1, 0, 2]]
    difference = np.abs(out.pixels.astype(int) - (swapped if srgb else photo)).max()
    assert difference <= (3 if srgb else 0)


def test_profiles_that_change_nothing(photo):
    for icc in (profile("sRGB"), bytes(16) + b"RGB " + bytes(108)):  # sRGB, and a broken one
        out = image_io.to_srgb(Photo(photo, icc=icc))
        assert out.icc is None
        np.testing.assert_array_equal(out.pixels, photo)
    assert image_io.to_srgb(Photo(photo)).pixels is photo


def test_srgb_keeps_alpha_and_rounds_deep_pixels(photo):
    glass = np.dstack([photo, photo[..., 0]]).astype(np.uint16) * 257
    out = image_io.to_srgb(Photo(glass, icc=wide())).pixels
    assert (out.dtype, out.shape) == (np.uint8, glass.shape)
    np.testing.assert_array_equal(out[..., 3], photo[..., 0])


def test_orientation_is_applied(warm, photo):
    file = io.BytesIO()
    block = Image.Exif()
    block[0x0112] = 6
    Image.fromarray(photo).save(file, "PNG", exif=block)
    upright = edits.prepare(image_io.decode(file.getvalue()), Edit(metadata=False))
    np.testing.assert_array_equal(upright.pixels, np.rot90(photo, -1))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_resize_takes_no_float_copy_of_the_picture(channels):
    pixels = np.full((1000, 1500, channels), 77, np.uint8)
    tracemalloc.start()
    drawn = geometry.draw(pixels, (10, 15))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (drawn == 77).all()
    assert most < 3.5 * 4 * 1000 * 1500  # three planes


def test_grey_pictures_without_a_channel_axis_are_resized(torch, warm, photo):
    assert warm.apply(photo[..., 0], Edit(resize=Resize(30))).shape == (HEIGHT, 30)
    assert warm.apply(torch.from_numpy(photo[..., 0].copy()), Edit(resize=Resize(30))).shape == (HEIGHT, 30)


def test_a_photo_is_an_image_and_keeps_what_it_knows(warm, photo):
    given = Photo(photo, "JPEG", icc=profile("sRGB"), exif=exif())
    blurred = warm.blur_background(given, "bokeh", 0.03)
    assert (blurred.format, blurred.icc, blurred.exif) == (given.format, given.icc, given.exif)
    np.testing.assert_array_equal(blurred.pixels, warm.blur_background(photo, "bokeh", 0.03))
    assert warm.remove_background(given).format == "PNG"  # a JPEG has no room for transparency
    assert warm.segment(given).pixels.dtype == np.uint8
    assert warm.apply([given], Edit(resize=Resize(30)))[0].pixels.shape == (HEIGHT, 30, 3)


def test_files_are_opened_and_saved(tmp_path, photo):
    given = Photo(photo, "PNG", exif=exif())
    gpublur.save(tmp_path / "new" / "a.png", given)
    read = gpublur.open(str(tmp_path / "new" / "a.png"))
    np.testing.assert_array_equal(read.pixels, photo)
    assert read.exif == given.exif
    gpublur.save(str(tmp_path / "b.jpg"), photo, jpeg_quality=20)
    assert gpublur.open((tmp_path / "b.jpg").read_bytes()).format == "JPEG"
    with pytest.raises(InvalidArgument, match="cannot hold transparency"):
        gpublur.save(tmp_path / "c.jpg", np.zeros((4, 5, 4), np.uint8))
    with pytest.raises(InvalidArgument, match="suffix is not one of"):
        gpublur.save(tmp_path / "c.xyz", photo)


def test_what_an_edit_returns_is_the_callers_own(warm, photo):
    before = photo.copy()
    for edit in (Edit(), Edit(resize=Resize(WIDTH, 60)), Edit(clip=True), BLUR):
        out = warm.apply(photo, edit)
        out[:] = 7
        np.testing.assert_array_equal(photo, before)
