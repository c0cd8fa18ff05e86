"""The whole road with a mask given, against the float64 reference, on every backend."""

from functools import lru_cache

import numpy as np
import pytest
import reference
from conftest import CONTRACT, LEAST_PSNR, matte, scene

THRESHOLD = (0.6, 0.95)
MODES = ("gaussian", "bokeh")


@lru_cache(maxsize=64)
def truth(size, mode, radius, highlights):
    """The reference's picture of the scene, which the backends and qualities share: it takes seconds."""
    return reference.blur_background(scene(*size), matte(*size), mode, radius, highlights, THRESHOLD, True)


def compare(editor, size, mode, radius, highlights, quality):
    """Largest difference in 1/255 and PSNR between the backend and the reference."""
    picture, alpha = scene(*size), matte(*size)
    got = editor.blur_background(
        picture, mode, radius, highlights=highlights, highlight_threshold=THRESHOLD, quality=quality, mask=alpha
    )
    want = truth(size, mode, radius, highlights)
    return reference.max_lsb(got, want), reference.psnr(got, want)


@pytest.mark.parametrize("highlights", [0.0, 0.5])
@pytest.mark.parametrize("radius", [0.002, 0.005, 0.01, 0.03, 0.05])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("quality", ["exact", "high", "fast"])
def test_contract_with_the_reference(editor, mode, quality, radius, highlights):
    # 1,100 pixels of diagonal: bokeh decimates at .05 (high) and .03 (high and fast), gaussian from .01 on.
    worst, psnr = compare(editor, (641, 897), mode, radius, highlights, quality)
    boosted = int(highlights > 0)
    assert worst <= CONTRACT.get((mode, quality), (np.inf, np.inf))[boosted]
    assert psnr >= LEAST_PSNR.get((mode, quality), (0, 0))[boosted]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (2, 2), (3, 5), (7, 300), (301, 5), (127, 129), (128, 128)])
def test_sizes_that_hurt(editor, mode, size):
    # Thinner than the blur reaches, primes, a block more or less; radius .05 decimates the long ones.
    for quality in ("exact", "high"):
        worst, _ = compare(editor, size, mode, 0.05, 0.0, quality)
        assert worst <= CONTRACT[mode, quality][0]


@pytest.mark.parametrize("opacity", [1, 4, 16, 255])
def test_a_faint_picture_keeps_its_colours(editor, opacity):
    """The weight of 1/255 all over is not missing weight, which the mean colour would fill in (3)."""
    photo = sky(60, 90, levels=100)
    want = editor.blur_background(photo, "gaussian", 0.03, mask=np.zeros((60, 90), bool))
    faint = np.dstack([photo, np.full((60, 90), opacity, np.uint8)])
    got = editor.blur_background(faint, "gaussian", 0.03, mask=np.zeros((60, 90), bool))
    assert np.abs(got[..., :3].astype(int) - want).max() <= 1
    assert (got[..., 3] == opacity).all()


LAMPS = [(255, 255, 255), (255, 200, 120), (255, 160, 60), (255, 40, 20), (40, 80, 255), (60, 255, 80)]


@pytest.mark.parametrize("lamp", LAMPS)
def test_lamps_of_every_colour_become_disks(editor, lamp):
    """A street lamp is coloured, and clipped in one channel: its disk is as bright as a white one's in that channel."""
    night = np.full((120, 160, 3), 12, np.uint8)
    night[58:62, 78:82] = lamp
    clipped = np.argmax(lamp)
    plain = editor.bokeh_blur(night, 0.04, highlights=0)[60, 80, clipped]
    glowing = editor.bokeh_blur(night, 0.04)[60, 80, clipped]
    night[58:62, 78:82] = 255
    assert glowing > plain + 40
    assert abs(int(glowing) - int(editor.bokeh_blur(night, 0.04)[60, 80, clipped])) <= 2


@pytest.mark.parametrize("sky", [(100, 150, 220), (135, 180, 240)])
def test_a_blue_sky_is_no_lamp(editor, sky):
    photo = np.full((120, 160, 3), 40, np.uint8)
    photo[:60] = sky
    plain = editor.bokeh_blur(photo, 0.04, highlights=0)
    np.testing.assert_array_equal(editor.bokeh_blur(photo, 0.04), plain)


def test_a_doubtful_matte_lends_no_light(editor):
    """Noise that no matte fits: (5)'s bounds decide about most pixels, and what is added up stays near the photo."""
    rng = np.random.default_rng(0)
    picture, alpha = rng.random((60, 90, 3), np.float32), rng.random((60, 90), np.float32)
    worst = reference.max_lsb(
        editor.blur_background(picture, "gaussian", 0.02, quality="exact", mask=alpha),
        reference.blur_background(picture, alpha, "gaussian", 0.02),
    )
    assert worst <= 0.1
    got, want = editor.remove_background(picture, mask=alpha), reference.remove_background(picture, alpha)
    assert np.abs((got - want)[..., :3] * alpha[..., None]).max() <= 1e-3
    light = reference.decode(got[..., :3]) * alpha[..., None]
    assert (light <= reference.decode(picture) + 2 * reference.SLACK).all()


@lru_cache(maxsize=16)
def bright_edges(side, mode):
    """A square scene whose right and bottom edges are bright, and the reference's bare blur of it."""
    picture = scene(side, side)
    picture[-3:], picture[:, -3:] = 0.9, 0.9
    return picture, reference.blur(picture, mode, 0.05, 0.0, THRESHOLD, True)


@pytest.mark.parametrize(("mode", "side"), [("gaussian", 320 + i) for i in range(5)] + [("bokeh", 800), ("bokeh", 801)])
def test_last_partial_cell_counts_by_its_area(editor, mode, side):
    # Factors 5 and 3. A partial cell taken for a whole one is off by 10 LSB and more at bright edges.
    picture, want = bright_edges(side, mode)
    got = editor.blur_background(picture, mode, 0.05, highlights=0.0, mask=np.zeros((side, side), np.float32))
    assert reference.max_lsb(got, want) <= CONTRACT[mode, "high"][0]
    assert reference.psnr(got, want) >= 68


@pytest.mark.parametrize("extra", range(4))
@pytest.mark.parametrize("sigma", [9, 13, 17])  # factors 2, 3 and 4
def test_no_cell_reads_past_its_row(editor, sigma, extra):
    # One bright edge, the rest dark: what lies behind a row's end in memory is the next row's beginning.
    picture = np.full((260, 260 + extra, 3), 0.02, np.float32)
    picture[:, :2] = 1
    radius = sigma / np.hypot(*picture.shape[:2])
    got = editor.gaussian_blur(picture, radius, linear_light=True)
    want = reference.blur(picture, "gaussian", radius, 0.0, THRESHOLD, True)
    assert reference.max_lsb(got, want) <= 0.1


@pytest.mark.parametrize("mode", MODES)
def test_bare_filter_against_the_reference(editor, mode):
    picture = scene(200, 301)
    if mode == "gaussian":
        got = editor.gaussian_blur(picture, 0.02)
        want = reference.blur(picture, mode, 0.02, 0.0, THRESHOLD, False)
    else:
        got = editor.bokeh_blur(picture, 0.02, highlights=0.4, highlight_threshold=THRESHOLD)
        want = reference.blur(picture, mode, 0.02, 0.4, THRESHOLD, True)
    assert reference.max_lsb(got, want) <= 0.1


def test_gaussian_equals_scipy_away_from_the_edge(editor):
    ndimage = pytest.importorskip("scipy.ndimage")
    picture = scene(220, 260)
    sigma = 0.02 * np.hypot(220, 260)
    want = ndimage.gaussian_filter(picture, (sigma, sigma, 0), truncate=6)
    inner = slice(40, -40)
    assert reference.max_lsb(editor.gaussian_blur(picture, 0.02)[inner, inner], want[inner, inner]) <= 0.1


@pytest.mark.parametrize("shape", [(90, 120), (90, 120, 1), (90, 120, 3), (90, 120, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_every_kind_and_dtype(editor, shape, dtype):
    rng = np.random.default_rng(1)
    picture = rng.uniform(0.1, 0.9, shape)
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    given = (picture * top + (0.5 if top > 1 else 0)).astype(dtype)
    alpha = matte(90, 120)
    got = editor.blur_background(given, "bokeh", 0.03, highlights=0.0, dither=False, mask=alpha)
    assert got.dtype == given.dtype
    assert got.shape == given.shape
    shown = given.astype(np.float64) / top
    reduced = shown[..., 0] if shape[2:] == (1,) else shown
    want = reference.blur_background(reduced, alpha, "bokeh", 0.03, 0.0, THRESHOLD, True).reshape(shape)
    rounding = {"uint8": 0.51, "float16": 0.13}.get(dtype, 0.05)
    assert reference.max_lsb(got / np.float64(top), want) <= rounding


@pytest.mark.parametrize("color", [None, "#c08040"])
@pytest.mark.parametrize("channels", [3, 4])
def test_cutout_against_the_reference(editor, color, channels):
    picture, alpha = scene(80, 110), matte(80, 110)
    if channels == 4:
        opacity = np.linspace(1, 0.2, 110, dtype=np.float32)[None].repeat(80, 0)
        picture = np.dstack([picture, opacity])
    got = editor.remove_background(picture, color, mask=alpha)
    cut = reference.remove_background(picture, alpha)
    if color is None:
        assert reference.max_lsb(got, cut) <= 0.1
    elif channels == 3:
        paint = reference.decode(np.array([0xC0, 0x80, 0x40]) / 255)
        blend = cut[..., 3:] * reference.decode(cut[..., :3]) + (1 - cut[..., 3:]) * paint
        want = np.where(cut[..., 3:] == 1, picture, reference.encode(blend))
        assert reference.max_lsb(got, want) <= 0.1
    else:  # transparent parts show the paint
        assert got.shape == (80, 110, 3)
        assert reference.max_lsb(got[:20, -5:], np.array([0xC0, 0x80, 0x40]) / 255) <= 0.5


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_stays_constant_for_every_mask(editor, mode):
    picture = np.full((97, 131, 3), (37, 140, 200), np.uint8)
    rng = np.random.default_rng(2)
    masks = [rng.random((97, 131)), np.full((97, 131), 0.5), np.zeros((97, 131)), np.ones((97, 131)), matte(97, 131)]
    for mask in masks:
        out = editor.blur_background(picture, mode, 0.05, highlights=0.5, mask=mask.astype(np.float32))
        np.testing.assert_array_equal(out, picture)


@pytest.mark.parametrize("quality", ["exact", "high"])
def test_an_impulse_reproduces_the_aperture(editor, quality):
    size, radius = 201, 0.04
    light = np.zeros((size, size), np.float32)
    light[size // 2, size // 2] = 1
    r = radius * np.hypot(size, size)
    for kernel, mode in ((reference.disk_kernel(r), "bokeh"), (reference.kernel_of("gaussian", r), "gaussian")):
        blur = editor.bokeh_blur if mode == "bokeh" else editor.gaussian_blur
        options = {"highlights": 0.0} if mode == "bokeh" else {}
        got = blur(light, radius, quality=quality, linear_light=False, **options)
        want = reference.convolve(light[..., None].astype(float), kernel)[..., 0]
        np.testing.assert_allclose(got, want, atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
def test_flips_and_transposes_commute(editor, mode):
    # Powers of two: the cells of the colour fields, whole at every level, lie the same from either side.
    picture, alpha = scene(128, 256), matte(128, 256)

    def run(p, a):
        return editor.blur_background(
            np.ascontiguousarray(p), mode, 0.02, highlights=0.5, quality="exact", mask=np.ascontiguousarray(a)
        )

    plain = run(picture, alpha)
    for turn in (lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.swapaxes(0, 1)):
        np.testing.assert_allclose(run(turn(picture), turn(alpha)), turn(plain), atol=1e-4)


def test_solid_subject_is_copied_and_solid_background_is_the_bare_filter(editor):
    picture = (scene(90, 120) * 255).astype(np.uint8)
    whole = editor.blur_background(picture, mask=np.ones((90, 120), bool))
    np.testing.assert_array_equal(whole, picture)
    nothing = editor.blur_background(picture, radius=0.03, mask=np.zeros((90, 120), bool))
    np.testing.assert_array_equal(nothing, editor.bokeh_blur(picture, 0.03))


def test_non_contiguous_views(editor):
    big = (scene(180, 240) * 255).astype(np.uint8)
    view, mask = big[::2, ::-2], matte(180, 240)[::2, ::-2]
    plain = editor.blur_background(view.copy(), mask=mask.copy())
    np.testing.assert_array_equal(editor.blur_background(view, mask=mask), plain)


def test_transparent_pixels_lend_no_colour(editor):
    picture = np.full((80, 120, 4), (90, 90, 90, 255), np.uint8)
    picture[:, :40] = (255, 0, 0, 0)
    out = editor.blur_background(picture, "gaussian", 0.05, mask=np.zeros((80, 120), bool))
    np.testing.assert_array_equal(out[:, 40:], picture[:, 40:])
    np.testing.assert_array_equal(out[..., 3], picture[..., 3])


def test_a_mask_of_another_size_is_interpolated(editor):
    picture, coarse = scene(120, 160), matte(30, 40)
    got = editor.blur_background(picture, "gaussian", 0.02, mask=coarse)
    alpha = reference.resample(coarse, (120, 160))
    want = reference.blur_background(picture, alpha, "gaussian", 0.02, 0.0, THRESHOLD, True)
    assert reference.max_lsb(got, want) <= 0.2


def test_bands_do_not_show(editor, monkeypatch):
    """The picture is the same whatever the memory allowed for a band of rows."""
    from gpublur.backends.cpu import ops as cpu

    picture, alpha = scene(700, 220), matte(700, 220)
    for mode, radius in (("bokeh", 0.01), ("gaussian", 0.01), ("bokeh", 0.05), ("gaussian", 0.05)):
        whole = editor.blur_background(picture, mode, radius, mask=alpha)
        with monkeypatch.context() as patch:
            patch.setattr(cpu, "BAND_BYTES", 1)
            narrow = editor.blur_background(picture, mode, radius, mask=alpha)
        np.testing.assert_allclose(narrow, whole, atol=1e-6)


@pytest.mark.parametrize("size", [(61, 83), (301, 1300), (1, 1), (2, 700), (40, 3)])
def test_a_refined_mask_against_the_reference(editor, size):
    """Samples of every pixel, of every third; a mask of another size; pictures smaller than a window."""
    picture = scene(*size)
    coarse = reference.resample(matte(*size), tuple(-(-n // 4) for n in size)).astype(np.float32)
    want = reference.refine(picture, coarse)
    cut = editor.remove_background(picture, mask=coarse, refine=True)
    np.testing.assert_allclose(cut[..., 3], want, rtol=0, atol=1e-3)
    if min(size) > 60:
        assert np.abs(want - reference.resample(coarse, size)).max() > 0.2


def sky(height=240, width=320, levels=12):
    """A grainy 8-bit sky that darkens by ``levels`` values from top to bottom."""
    ramp = np.linspace(150, 150 - levels, height)[:, None, None] + np.random.default_rng(3).normal(
        0, 2, (height, width, 1)
    )
    return np.rint(ramp * [0.8, 0.9, 1]).astype(np.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_a_smooth_sky_shows_no_bands(editor, mode):
    """Rounding alone makes every few rows one band of equal pixels; dithered, their means go on falling (8)."""
    photo = sky()
    mask = np.zeros(photo.shape[:2], bool)
    mask[:, -20:] = True
    exact = editor.blur_background(photo.astype(np.float32) / 255, mode, 0.03, mask=mask) * 255
    got = {d: editor.blur_background(photo, mode, 0.03, mask=mask, dither=d) for d in (False, True)}
    rows = {d: picture[:, 60:-60].astype(float).mean(1) for d, picture in got.items()}
    bands = {d: int(np.max(np.abs(mean - exact[:, 60:-60].mean(1)) * 100)) for d, mean in rows.items()}
    assert bands[True] <= 10
    assert bands[False] >= 40  # hundredths of a value that a row is off
    for dither, picture in got.items():
        np.testing.assert_array_equal(picture[mask], photo[mask])
        differs = picture != reference.to_bytes(exact / 255, dither)
        assert differs[~mask].mean() < 0.005


def test_whole_values_are_not_dithered(editor):
    """A flat picture and a colour painted behind the subject come out as they are."""
    for value in range(0, 256, 5):
        flat = np.full((17, 23, 3), value, np.uint8)
        np.testing.assert_array_equal(editor.bokeh_blur(flat, 0.05), flat)
        np.testing.assert_array_equal(editor.gaussian_blur(flat, 0.05), flat)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_only_8_bits_are_dithered(editor, dtype):
    photo = sky(40, 60).astype(dtype) * (257 if dtype == np.uint16 else np.float32(1 / 255))
    assert np.array_equal(editor.bokeh_blur(photo, 0.05), editor.bokeh_blur(photo, 0.05, dither=False))
