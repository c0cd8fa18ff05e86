"""The reference against facts that do not come from it: geometry, SciPy, sums by hand, plain loops."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import reference as ref

ndimage = pytest.importorskip("scipy.ndimage")

MODES = ("gaussian", "bokeh")
BLUR = {"radius": 0.05, "highlights": 0.5, "threshold": (0.4, 0.9)}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def soft_ball(h: int, w: int) -> np.ndarray:
    """A matte with solid inside, solid outside and a soft rim."""
    y, x = np.mgrid[:h, :w]
    return np.clip(0.5 + (0.3 * min(h, w) - np.hypot(y - 0.4 * h, x - 0.6 * w)) / 6, 0, 1)


def random_matte(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Mattes with exact zeros and ones, traces below 0.05 and holes far from any background."""
    coarse = ref.resample(rng.random((4, 5)), shape)
    return np.clip(8 * (coarse - 0.5) + 0.1 * rng.standard_normal(shape), 0, 1)


# --- The file itself ---


def test_imports_numpy_only():
    tree = ast.parse(Path(ref.__file__).read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == {"numpy"}


# --- Light ---


def test_srgb_known_values():
    assert ref.decode(0.5) == pytest.approx(0.21404114048223255, abs=1e-15)
    assert ref.decode(np.array([0, 0.04, 1])) == pytest.approx([0, 0.04 / 12.92, 1], abs=1e-15)
    assert ref.encode([-1, 0.002, 2]) == pytest.approx([0, 0.002 * 12.92, 1], abs=1e-15)


def test_srgb_round_trip():
    v = np.arange(65536) / 65535
    np.testing.assert_allclose(ref.encode(ref.decode(v)), v, rtol=0, atol=1e-7)  # the standard's own seam
    away = np.abs(v - 0.04045) > 1e-4
    np.testing.assert_allclose(ref.encode(ref.decode(v))[away], v[away], rtol=0, atol=1e-14)


# --- Kernels ---


def test_radius_is_a_fraction_of_the_diagonal():
    assert ref.radius_in_pixels(0.02, (300, 400, 3)) == pytest.approx(10)


@pytest.mark.parametrize("r", [0.1, 0.5, 0.6, 0.75, 1, 1.5, 2.3, np.sqrt(2), 7.5, 33.21, 240])
def test_disk_area_is_pi_r_squared(r):
    area = ref.disk_area(r)
    assert area.sum() == pytest.approx(np.pi * r * r, rel=1e-12)
    assert area.min() >= 0
    assert area.max() <= 1
    assert area[0].sum() > 0 or r <= 0.5  # no empty rim
    assert ref.disk_kernel(r).sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("r", [0.9, 2.3, 6.5, 14.7])
def test_disk_is_symmetric(r):
    k = ref.disk_kernel(r)
    np.testing.assert_array_equal(k, k[::-1])
    np.testing.assert_array_equal(k, k[:, ::-1])
    np.testing.assert_allclose(k, k.T, rtol=0, atol=1e-15)


def test_disk_small_radii_by_hand():
    np.testing.assert_array_equal(ref.disk_kernel(0), [[1]])
    np.testing.assert_array_equal(ref.disk_kernel(0.49), [[1]])
    assert ref.disk_kernel(0.51).shape == (3, 3)
    assert ref.disk_area(0.5) == pytest.approx(np.pi / 4, abs=1e-15)
    # r = 1 / sqrt(2) just reaches the corners of the centre pixel: 1, four segments of (pi r^2 - 1) / 4, no corners
    s = (np.pi / 2 - 1) / 4
    np.testing.assert_allclose(ref.disk_area(np.sqrt(0.5)), [[0, s, 0], [s, 1, s], [0, s, 0]], atol=1e-15)
    # r = 1.5: a side pixel loses the two slivers beyond sqrt(r^2 - x^2)
    side = np.sqrt(2) / 2 + 1.5**2 * np.arcsin(1 / 3) - 0.5
    corner = (np.pi * 1.5**2 - 1 - 4 * side) / 4
    expected = [[corner, side, corner], [side, 1, side], [corner, side, corner]]
    np.testing.assert_allclose(ref.disk_area(1.5), expected, atol=1e-14)


@pytest.mark.parametrize("r", [0.8, 3.1, 5.0])
def test_disk_area_by_counting(r):
    n, fine = ref.disk_area(r).shape[0] // 2, 200
    at = (np.arange((2 * n + 1) * fine) + 0.5) / fine - n - 0.5
    inside = (np.hypot(at[:, None], at) <= r).reshape(2 * n + 1, fine, 2 * n + 1, fine)
    np.testing.assert_allclose(ref.disk_area(r), inside.mean(axis=(1, 3)), atol=1e-3)


@pytest.mark.parametrize("sigma", [0.3, 1, 3.7])
def test_gaussian_is_scipys(sigma):
    impulse = np.zeros((61, 63, 1))
    impulse[30, 31] = 1
    taps = ref.gaussian_kernel(sigma)
    assert taps.size == 2 * np.ceil(6 * sigma) + 1
    theirs = ndimage.gaussian_filter(impulse[..., 0], sigma, mode="constant", truncate=int(np.ceil(6 * sigma)) / sigma)
    np.testing.assert_allclose(ref.convolve(impulse, taps)[..., 0], theirs, rtol=0, atol=1e-16)


@pytest.mark.parametrize("sigma", [0, 1e-200, 0.019, 0.021])
def test_tiny_gaussian_is_an_impulse(sigma):
    taps = ref.gaussian_kernel(sigma)
    assert taps[taps.size // 2] == 1 == taps.sum()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (17, 23)])
@pytest.mark.parametrize("kernel_shape", [(1, 1), (3, 5), (9, 9), (1, 21)])
def test_convolve(rng, shape, kernel_shape):
    planes, kernel = rng.random((*shape, 2)), rng.random(kernel_shape)  # not symmetric: a correlation is seen
    theirs = np.stack([ndimage.convolve(planes[..., c], kernel, mode="constant") for c in range(2)], axis=2)
    for method in ("direct", "fft", "auto"):
        np.testing.assert_allclose(ref.convolve(planes, kernel, method), theirs, rtol=0, atol=1e-12)


def test_convolve_is_separable(rng):
    planes, taps = rng.random((12, 15, 3)), rng.random(5)
    both = ref.convolve(planes, np.outer(taps, taps), "direct")
    np.testing.assert_allclose(ref.convolve(planes, taps), both, rtol=0, atol=1e-13)


# --- Weights ---


def test_boost_and_luminance():
    lum = np.array([0, 0.4, 0.65, 0.9, 1])
    np.testing.assert_allclose(ref.boost(lum, 0.5, (0.4, 0.9)), [1, 1, 2**2.5, 32, 32])
    np.testing.assert_array_equal(ref.boost(lum, 0, (0.4, 0.9)), 1)
    np.testing.assert_allclose(ref.luminance(np.eye(3)[None]), [[0.2126, 0.7152, 0.0722]])
    np.testing.assert_array_equal(ref.luminance(lum[None, :, None]), lum[None])
    np.testing.assert_array_equal(ref.brightness(lum[None, :, None]), lum[None])
    np.testing.assert_allclose(
        ref.brightness(np.array([[[0, 0, 1], [0.5, 0.5, 0.9]]])), [[1, 0.52888]], rtol=0, atol=1e-8
    )


def test_weight():
    light = np.ones((1, 4, 3))
    alpha = np.array([[0, ref.EDGE / 2, ref.EDGE, 1]])
    np.testing.assert_allclose(ref.weight(light, alpha), [[1, 0.5, 0, 0]], atol=1e-15)
    np.testing.assert_allclose(ref.weight(light, alpha, 0.3, (0, 1), 0.25), [[2, 1, 0, 0]], atol=1e-15)


def test_fill_takes_the_field_only_below_tau():
    d = np.array([[0, 1 / 64, 1 / 32, 0.5]])
    b = ref.fill(0.8 * d[..., None], d, np.full((1, 4, 1), 0.2))
    np.testing.assert_allclose(b[..., 0], [[0.2, 0.5, 0.8, 0.8]])


# --- Fields ---


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 53), (1, 1100), (1030, 5)])
@pytest.mark.parametrize("matte", ["zero", "half", "one", "random"])
def test_fields_of_a_constant(rng, shape, matte):
    alpha = {"zero": np.zeros(shape), "half": np.full(shape, 0.5), "one": np.ones(shape), "random": rng.random(shape)}
    light = np.broadcast_to([0.2, 0.5, 0.9], (*shape, 3))
    for field in ref.fields(light, alpha[matte], ref.background_weight(alpha[matte])):
        np.testing.assert_allclose(field, light, rtol=0, atol=1e-12)


def test_fields_by_hand():
    """8 x 8: four cells under one top. The subject stands left, the right is 0.2 above 0.6; so is the subject + 0.1."""
    light = np.zeros((8, 8, 1))
    light[:4], light[4:] = 0.2, 0.6
    light[:, :4] += 0.1
    alpha = np.zeros((8, 8))
    alpha[:, :4] = 1
    fore, back = ref.fields(light, alpha, 1 - alpha)
    y = np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)[:, None]  # 0 and 1 are the centres of the cells
    x = np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)[None]
    np.testing.assert_allclose(back[..., 0], (1 - x) * 0.4 + x * (0.2 + 0.4 * y), atol=1e-15)
    np.testing.assert_allclose(fore[..., 0], (1 - x) * (0.3 + 0.4 * y) + x * 0.5, atol=1e-15)


def test_push_pull_mixes_light_cells_with_the_coarser_level():
    """Two cells: one full of 0.9, one with two samples (2/16 of weight, half of 1/4) of 0.1."""
    colour, w = np.full((4, 8, 1), 0.9), np.ones((4, 8))
    colour[:, 4:], w[:, 4:] = 0.1, 0
    w[0, 4:6] = 1
    top = (16 * 0.9 + 2 * 0.1) / 18
    np.testing.assert_allclose(ref.push_pull(colour, w)[..., 0], [[0.9, (0.1 + top) / 2]], atol=1e-15)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n", [100, 1024, 1030])  # strides 1, 2, 3
def test_fields_lie_where_the_picture_lies(n, axis):
    """A ramp is reproduced: sampling, cells and interpolation do not shift."""
    ramp = np.broadcast_to(np.arange(n) / n, (24, n))
    light = np.moveaxis(ramp, 1, axis)[..., None]
    ones = np.ones(light.shape[:2])
    inner = np.s_[12:-24, :] if axis == 0 else np.s_[:, 12:-24]
    for field in ref.fields(light, ones, ones):
        np.testing.assert_allclose(field[inner], light[inner], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("shape", "s", "o"), [((9, 512), 1, 0), ((9, 513), 2, 1), ((1030, 9), 3, 1), ((1, 2049), 5, 2)]
)
def test_fields_read_the_samples_only(shape, s, o):
    light = np.zeros((*shape, 1))
    light[min(o, shape[0] // 2) :: s, o::s] = 1
    for field in ref.fields(light, np.ones(shape), np.ones(shape)):
        np.testing.assert_allclose(field, 1, rtol=0, atol=1e-12)


def test_coverage_keeps_hidden_colours_out_of_the_fields(rng):
    light, coverage = np.full((20, 20, 3), 0.3), np.ones((20, 20))
    light[:10], coverage[:10] = [1, 0, 1], 0
    alpha = rng.random((20, 20))
    for field in ref.fields(light, alpha, ref.background_weight(alpha) * coverage, coverage):
        np.testing.assert_allclose(field, 0.3, atol=1e-14)


def test_foreground_unmixes():
    """With the true colours as fields, a mixed pixel gives the subject's colour back."""
    alpha = np.linspace(0, 1, 11)[None]
    fore, back = np.full((1, 11, 3), 0.8), np.full((1, 11, 3), 0.1)
    light = alpha[..., None] * fore + (1 - alpha[..., None]) * back
    np.testing.assert_allclose(ref.foreground(light, alpha, fore, back), fore, atol=1e-15)
    np.testing.assert_allclose(ref.foreground(light + 0.1, alpha, fore, back)[..., 0], 0.8 + 0.1 * alpha)
    assert ref.foreground(light + 5, alpha, fore, back).max() == 1


def test_foreground_is_no_brighter_than_the_light_that_is_there():
    """A doubtful matte beside a bright subject: in the dark there is no light that could be the subject's."""
    alpha, bright, dark = np.full((1, 1), 0.2), np.ones((1, 1, 3)), np.zeros((1, 1, 3))
    assert ref.foreground(dark, alpha, bright, dark).max() == pytest.approx(ref.SLACK / 0.2)
    assert ref.foreground(bright, alpha, dark, bright).min() == pytest.approx(1 - ref.SLACK / 0.2)


# --- The effects ---


@pytest.mark.parametrize("mode", MODES)
def test_constant_stays_constant(rng, mode):
    colour = np.array([0.15, 0.5, 0.97])
    for shape in ((1, 1), (1, 30), (41, 58)):
        image = np.broadcast_to(colour, (*shape, 3))
        alpha = random_matte(rng, shape)
        light = ref.decode(image)
        w = ref.weight(light, alpha, 0.5, (0.1, 0.3))
        back = ref.fields(light, alpha, ref.background_weight(alpha))[1]
        kernel = ref.kernel_of(mode, 4.3)
        np.testing.assert_allclose(ref.fill(*ref.normalised_blur(light, w, kernel), back), light, rtol=0, atol=1e-12)
        np.testing.assert_allclose(ref.blur_background(image, alpha, mode, **BLUR), image, rtol=0, atol=1e-11)
        np.testing.assert_allclose(ref.blur(image, mode, **BLUR), image, rtol=0, atol=1e-11)
        np.testing.assert_allclose(ref.remove_background(image, alpha)[..., :3], image, rtol=0, atol=1e-11)


@pytest.mark.parametrize("linear_light", [True, False])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize("mode", MODES)
def test_subject_is_the_input_bit_for_bit(rng, mode, channels, linear_light):
    image, alpha = rng.random((50, 60, *channels)), soft_ball(50, 60)
    out = ref.blur_background(image, alpha, mode, **BLUR, linear_light=linear_light)
    assert out.shape == image.shape
    assert out.min() >= 0
    assert out.max() <= 1
    np.testing.assert_array_equal(out[alpha == 1], image[alpha == 1])
    assert np.abs(out - image)[alpha < 0.5].max() > 0.1  # and elsewhere something happened
    np.testing.assert_array_equal(ref.blur_background(image, np.ones((50, 60)), mode, **BLUR), image)
    if channels == (4,):
        np.testing.assert_array_equal(out[..., 3], image[..., 3])


@pytest.mark.parametrize("mode", MODES)
def test_no_matte_is_the_bare_filter(rng, mode):
    image = rng.random((40, 50, 3))
    bare = ref.blur(image, mode, **BLUR)
    np.testing.assert_allclose(ref.blur_background(image, np.zeros((40, 50)), mode, **BLUR), bare, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_a_red_subject_leaves_no_red(mode):
    """A hard matte: nothing at all. A soft one, truly mixed: nothing where the matte is 0."""
    hard = np.zeros((60, 80))
    hard[20:45, 30:50] = 1
    image = np.full((60, 80, 3), 0.5)
    image[hard == 1] = [1, 0, 0]
    out = ref.blur_background(image, hard, mode, **BLUR)
    np.testing.assert_allclose(out[hard == 0], 0.5, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ref.remove_background(image, hard)[..., :3][hard == 0], [[1, 0, 0]] * 4300, atol=1e-9)
    red = ref.blur(image, mode, **BLUR)[hard == 0]
    assert np.ptp(red, axis=1).max() > 0.2  # the bare filter does bleed

    soft = soft_ball(60, 80)
    soft[soft <= ref.EDGE] = 0
    mixed = ref.encode(soft[..., None] * [1, 0, 0] + (1 - soft[..., None]) * ref.decode(0.5))
    out = ref.blur_background(mixed, soft, mode, **BLUR)
    np.testing.assert_allclose(out[soft == 0], 0.5, rtol=0, atol=1e-12)


def test_impulse_shows_the_aperture():
    """A light on black, in light: the disk itself, normalised by the frame."""
    image = np.zeros((41, 51))
    image[20, 25] = 1
    radius = 6.3 / np.hypot(41, 51)
    light = ref.decode(ref.blur(image, "bokeh", radius))
    k = ref.disk_kernel(6.3)
    n = k.shape[0] // 2
    np.testing.assert_allclose(light[20 - n : 21 + n, 25 - n : 26 + n], k, rtol=0, atol=1e-12)
    assert light.sum() == pytest.approx(1, abs=1e-9)
    # a boost of 2^10: where the disk has k, the light is 1024 k / (1 + 1023 k)
    light = ref.decode(ref.blur(image, "bokeh", radius, 1, (0.5, 0.9)))
    np.testing.assert_allclose(light[20, 25 - n : 26 + n], (1024 * k / (1 + 1023 * k))[n], rtol=0, atol=1e-9)


def test_gaussian_on_display_values_is_scipys(rng):
    image = rng.random((70, 90, 3))
    sigma = 3.0
    ours = ref.blur(image, "gaussian", sigma / np.hypot(70, 90), linear_light=False)
    theirs = ndimage.gaussian_filter(image, (sigma, sigma, 0), truncate=6)
    np.testing.assert_allclose(ours[18:-18, 18:-18], theirs[18:-18, 18:-18], rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_flips_and_transposes_commute(rng, mode):
    """Transposes always; flips of the fields only where blocks tile the picture, here 64 = 4 x 2^4."""
    image, alpha = rng.random((64, 64, 4)), soft_ball(64, 64)
    out = ref.blur_background(image, alpha, mode, **BLUR)
    cut = ref.remove_background(image, alpha)
    for turn in (np.flipud, np.fliplr, lambda a: a.swapaxes(0, 1)):
        np.testing.assert_allclose(ref.blur_background(turn(image), turn(alpha), mode, **BLUR), turn(out), atol=1e-9)
        np.testing.assert_allclose(ref.remove_background(turn(image), turn(alpha)), turn(cut), atol=1e-9)
    image = rng.random((37, 23, 3))
    for turn in (np.flipud, np.fliplr, lambda a: a.swapaxes(0, 1)):
        np.testing.assert_allclose(ref.blur(turn(image), mode, **BLUR), turn(ref.blur(image, mode, **BLUR)), atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_grey_is_rgb_with_equal_channels(rng, mode):
    grey, alpha = rng.random((40, 50)), soft_ball(40, 50)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    out = ref.blur_background(grey, alpha, mode, **BLUR)
    np.testing.assert_allclose(ref.blur_background(rgb, alpha, mode, **BLUR), np.dstack([out] * 3), atol=1e-12)
    np.testing.assert_allclose(ref.remove_background(grey, alpha), ref.remove_background(rgb, alpha), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_hidden_colours_do_not_enter(rng, mode):
    """What the picture's own alpha channel hides changes nothing that is seen."""
    image, alpha = rng.random((40, 50, 4)), soft_ball(40, 50)
    image[:, 10:20, 3] = 0
    other = image.copy()
    other[:, 10:20, :3] = rng.random((40, 10, 3))
    seen = image[..., 3] > 0
    for edit in (
        lambda i: ref.blur_background(i, alpha, mode, **BLUR),
        lambda i: ref.blur(i, mode, **BLUR),
        lambda i: ref.remove_background(i, alpha),
    ):
        np.testing.assert_allclose(edit(image)[seen], edit(other)[seen], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_bare_filter_where_little_or_nothing_is_covered(rng, mode):
    image = rng.random((30, 90, 4))
    image[:, :30, 3], image[:, 30:, 3] = 0.01, 0
    out = ref.blur(image, mode, 5 / np.hypot(30, 90), linear_light=False)
    alone = ref.blur(image[:, :30, :3], mode, 5 / np.hypot(30, 30), linear_light=False)
    np.testing.assert_allclose(out[:, :30, :3], alone, rtol=0, atol=1e-9)  # traces of coverage suffice
    np.testing.assert_array_equal(out[:, 61:], image[:, 61:])  # out of reach, not the rounding of the FFT


def test_the_rim_shows_less_of_the_old_background():
    """A flat subject on a flat background, truly mixed: blurring changes nothing, if the colours are unmixed."""
    alpha = soft_ball(120, 150)
    light = alpha[..., None] * [0.1, 0.1, 0.9] + (1 - alpha[..., None]) * [0.9, 0.8, 0.1]
    out = ref.decode(ref.blur_background(ref.encode(light), alpha, "bokeh", 0.02))
    rim = (alpha > 0.2) & (alpha < 0.8)
    naive = (alpha * (1 - alpha))[..., None] * ([0.8, 0.7, -0.8])  # the error with F = the picture
    assert np.abs(out - light)[rim].mean() < 0.8 * np.abs(naive)[rim].mean()


def test_remove_background(rng):
    image, alpha = rng.random((40, 50, 4)), soft_ball(40, 50)
    out = ref.remove_background(image, alpha)
    np.testing.assert_array_equal(out[..., 3], alpha * image[..., 3])
    np.testing.assert_array_equal(out[alpha == 1, :3], image[alpha == 1, :3])
    # one subject on one background, truly mixed: the cut-out is nearer to the subject than the picture is
    subject, back = ref.decode([0.2, 0.3, 0.9]), ref.decode([0.9, 0.8, 0.1])
    mixed = ref.encode(alpha[..., None] * subject + (1 - alpha[..., None]) * back)
    rim = (alpha > 0.3) & (alpha < 1)
    before, after = (
        np.abs(ref.decode(i) - subject)[rim].mean() for i in (mixed, ref.remove_background(mixed, alpha)[..., :3])
    )
    assert after < 0.7 * before


# --- The matte ---


def test_resample(rng):
    mask = rng.random((7, 9))
    np.testing.assert_array_equal(ref.resample(mask, (7, 9)), mask)
    np.testing.assert_allclose(ref.resample([[0.0, 1.0]], (1, 4)), [[0, 0.25, 0.75, 1]])
    np.testing.assert_allclose(ref.resample(mask, (21, 27))[1::3, 1::3], mask, atol=1e-14)
    np.testing.assert_allclose(ref.resample(mask[::-1], (13, 5)), ref.resample(mask, (13, 5))[::-1], atol=1e-14)


def test_window_mean_is_truncated(rng):
    a = rng.random((6, 8, 1))
    mean = ref.window_mean(a, 2)[..., 0]
    assert mean[0, 0] == pytest.approx(a[:3, :3].mean())
    assert mean[5, 3] == pytest.approx(a[3:, 1:6].mean())
    np.testing.assert_allclose(ref.window_mean(a, 99)[..., 0], a.mean())


def test_fits_at_their_limits(rng):
    guide, w = rng.random((30, 40, 3)), rng.random((30, 40)) + 0.1
    a, b, left = ref.window_fits(guide, np.full((30, 40), 0.3), w, 4)
    assert not a.any()
    np.testing.assert_allclose(b, 0.3, atol=1e-12)
    for c in range(3):  # a mask that is a colour
        a, b, left = ref.window_fits(guide, guide[..., c], w, 4, 1e-12)
        np.testing.assert_allclose(a, np.broadcast_to(np.eye(3)[c], a.shape), atol=1e-9)
        np.testing.assert_allclose((b, left), 0, atol=1e-9)
    p = rng.random((30, 40))
    a, b, left = ref.window_fits(guide, p, w, 4, 1e9)
    np.testing.assert_allclose(a, 0, atol=1e-8)
    np.testing.assert_allclose(b, (ref.window_mean((w * p)[..., None], 4) / ref.window_mean(w[..., None], 4))[..., 0])


def test_fits_by_ridge_regression(rng):
    """In every window the affine fit of p to the guide, by weighted least squares, divided by its share of variance."""
    h, w, r, eps = 6, 7, 1, 0.01
    guide, p, weight = rng.random((h, w, 3)), rng.random((h, w)), rng.random((h, w)) + 0.1
    got = ref.window_fits(guide, p, weight, r, eps, 0.9)
    for y, x in np.ndindex(h, w):
        window = np.s_[max(y - r, 0) : y + r + 1, max(x - r, 0) : x + r + 1]
        wt, mask = weight[window].ravel(), p[window].ravel()
        rows = np.pad(guide[window].reshape(-1, 3), ((0, 0), (0, 1)), constant_values=1)
        ridge = np.sqrt(eps * wt.sum()) * np.eye(3, 4)
        values = np.concatenate([np.sqrt(wt) * mask, np.zeros(3)])
        fit = np.linalg.lstsq(np.concatenate([np.sqrt(wt)[:, None] * rows, ridge]), values, rcond=None)[0]
        mean = np.average(mask, weights=wt)
        told = np.average((rows @ fit - mean) * (mask - mean), weights=wt)  # the fit's covariance with the mask
        variance = np.average((mask - mean) ** 2, weights=wt)
        a = fit[:3] / max(told / variance, 0.9)
        np.testing.assert_allclose(got[0][y, x], a, atol=1e-10)
        np.testing.assert_allclose(got[1][y, x], mean - a @ np.average(rows[:, :3], axis=0, weights=wt), atol=1e-10)
        np.testing.assert_allclose(got[2][y, x], variance - told, atol=1e-10)


def test_trust():
    p = np.array([0, 1, 1, 0.5, 1, 0.0])
    around = np.array([0, 1, 0.6, 1, 0.2, 0.4])
    np.testing.assert_allclose(ref.trust(p, around), [1, 1, 0.24, 0.05, 0.05, 0.24])


def test_refine_finds_the_photo_s_edge(rng):
    """A mask whose edge lies 3 pixels off: the matte's lies where the colours change, on either side, and is sharp."""
    photo = np.where(np.arange(96)[:, None] < 48, [0.8, 0.6, 0.5], [0.2, 0.3, 0.4])[None].repeat(64, 0)
    photo = np.clip(photo + rng.normal(0, 0.02, photo.shape), 0, 1)
    for edge in (45, 51):
        mask = np.repeat(np.clip((edge + 1.5 - np.arange(96)) / 4, 0, 1)[None], 64, 0)
        alpha = ref.refine(photo, mask)
        np.testing.assert_allclose(alpha[:, :45], 1, atol=0.02)
        np.testing.assert_allclose(alpha[:, 51:], 0, atol=0.02)
        assert np.abs(alpha[:, :48] - 1).mean() < 0.03
        assert np.abs(alpha[:, 48:]).mean() < 0.03


def test_refine_keeps_what_colour_cannot_tell(rng):
    """Both sides alike: the mask's edge stays where it is, and what is sure stays sure."""
    photo = np.clip(0.5 + rng.normal(0, 0.02, (64, 96, 3)), 0, 1)
    mask = np.repeat((np.arange(96) < 48)[None] * 1.0, 64, 0)
    alpha = ref.refine(photo, mask)
    np.testing.assert_array_equal(alpha[:, :45], 1)
    np.testing.assert_allclose(alpha[:, 60:], 0, atol=1e-12)
    assert (alpha[:, :44].min(axis=1) > 0.5).all()
    assert (alpha[:, 52:].max(axis=1) < 0.5).all()


# --- Measures ---


def test_measures():
    a = np.full((4, 5), 0.5)
    b = a.copy()
    assert ref.psnr(a, b) == float("inf")
    assert ref.max_lsb(a, b) == 0
    b[0, 0] += 2 / 255
    assert ref.max_lsb(a, b) == pytest.approx(2)
    assert ref.psnr(a, a + 0.01) == pytest.approx(40)


def test_the_wave_takes_every_height_equally_often():
    heights = ref.wave(64, 64)
    counts = np.histogram(heights, 8, (-1, 1))[0]
    assert counts.max() - counts.min() <= 8
    assert abs(ref.window_mean(heights[..., None], 2)[2:-2, 2:-2]).max() < 0.12  # of any 5 x 5 neighbours


def test_to_bytes():
    values = np.arange(256)[:, None, None] / 255 * np.ones((1, 7, 3))
    np.testing.assert_array_equal(ref.to_bytes(values), np.arange(256)[:, None, None] * np.ones((1, 7, 3)))
    third = np.full((64, 64, 1), 100.3 / 255)
    assert abs(ref.to_bytes(third).mean() - 100.3) < 0.02
    assert (ref.to_bytes(third, False) == 100).all()
