"""The plans: which grid, which weights; against closed forms and the reference's kernels, in float64."""

import math

import numpy as np
import pytest
import reference

from gpublur import color, optics
from gpublur.types import BlurSpec

ROWS_RATIO = {"high": 12.5, "fast": 9}
RATIO = {("gaussian", "high"): 4, ("gaussian", "fast"): 2, ("bokeh", "high"): 16.6, ("bokeh", "fast"): 12}
FACTORS = range(1, 18)


def plan(mode, r, quality="high"):
    """The plan for ``r`` pixels, on a picture where that is a radius of 0.04."""
    side = r / 0.04 / math.sqrt(2)
    height = width = max(1, round(side))
    return optics.plan(BlurSpec(mode, r / math.hypot(width, height), 0.0, quality=quality), height, width)


def kernel_of_spans(spans):
    """The aperture that spans stand for, (2 rows + 1, 2 columns + 1) of what they reach."""
    rows, columns = spans.reach
    kernel = np.zeros((2 * rows + 1, 2 * columns + 1))
    for dy, half, weight in zip(spans.dy, spans.half, spans.weight, strict=True):
        for row in {rows - dy, rows + dy}:
            kernel[row, columns - half : columns + half + 1] += weight
    return kernel


# --- The grid ---


@pytest.mark.parametrize(("mode", "quality"), RATIO)
def test_the_grid_keeps_the_least_ratio(mode, quality):
    least, factors = RATIO[mode, quality], set()
    for r in least * np.linspace(0.1, 20.2, 90):
        p = plan(mode, r, quality)
        factor = p.across.factor
        factors.add(factor)
        assert factor == 1 or r / factor >= least
        assert factor == 16 or r / (factor + 1) < least  # and none coarser would
        joined = mode == "bokeh" and factor == 1 and r / 2 >= ROWS_RATIO[quality]
        assert p.down.factor == (2 if joined else factor)
    assert factors == set(range(1, 17))


@pytest.mark.parametrize("mode", ["gaussian", "bokeh"])
def test_exact_stays_at_full_resolution(mode):
    p = plan(mode, 300, "exact")
    assert p.grid == (p.height, p.width)
    for axis in (p.down, p.across):
        assert (axis.factor, axis.first) == (1, 0)
        np.testing.assert_array_equal(axis.down, [1])


def test_the_radius_is_a_fraction_of_the_diagonal():
    assert optics.radius_px(0.01, 300, 400) == pytest.approx(5)
    spans = optics.plan(BlurSpec("bokeh", 0.01, 0.0), 300, 400).aperture
    np.testing.assert_allclose(kernel_of_spans(spans), reference.disk_kernel(5), atol=1e-7)


def test_a_radius_in_pixels_is_that_many_whatever_the_size():
    """25 pixels were 24.999999999999996 of some pictures, and took another road there."""
    for height in range(355, 370):
        assert optics.radius_px("25px", height, 640) == 25
        assert optics.plan(BlurSpec("bokeh", "25px", 0.3), height, 640).down.factor == 2
        assert (
            optics.plan(BlurSpec("bokeh", "25px", 0.6), height, 640).down.factor == 1
        )  # the rims of lamps would show it


def test_cells_cover_the_frame_and_the_last_may_be_partial():
    for size, cells in ((100, 25), (101, 26), (103, 26), (1, 1)):
        axis = optics.spline_axis(4)
        p = optics.Plan(size, 2 * size, axis, axis, optics.gaussian(1.0))
        assert p.grid == (cells, -(-2 * size // 4))


def test_a_plan_is_made_once_and_says_the_same_again():
    spec = BlurSpec("bokeh", 0.03, 0.0)
    first = optics.plan(spec, 900, 1200)
    assert optics.plan(BlurSpec("bokeh", 0.03, 0.0), 900, 1200) is first
    assert optics.plan(spec, 1200, 900) is not first
    again = optics.plan.__wrapped__(spec, 900, 1200)
    for name in ("down", "shift", "up"):
        np.testing.assert_array_equal(getattr(again.across, name), getattr(first.across, name))
    np.testing.assert_array_equal(again.aperture.weight, first.aperture.weight)


@pytest.mark.parametrize("quality", ["high", "fast", "exact"])
@pytest.mark.parametrize("mode", ["gaussian", "bokeh"])
def test_a_picture_beyond_two_gigabytes_is_planned(mode, quality):
    side = 70_000  # 4.9e9 pixels; not allocated
    radius = 0.05 if quality != "exact" else 0.005
    p = optics.plan.__wrapped__(BlurSpec(mode, radius, 0.0, quality=quality), side, side)
    factor = p.across.factor
    assert p.grid == (-(-side // factor),) * 2
    assert all(type(n) is int for n in (p.height, p.width, factor, p.across.first, *p.aperture.reach, *p.grid))
    assert p.grid[0] * p.grid[1] * factor**2 >= side * side  # Python's integers: nothing wraps
    taps = p.aperture.weights if mode == "gaussian" else p.aperture.weight * (2 * p.aperture.half + 1.0)
    assert np.isfinite(taps).all()
    if mode == "bokeh":
        assert (p.aperture.half >= 0).all()
        assert (p.aperture.dy.max(), p.aperture.half.max()) == p.aperture.reach


# --- Apertures ---


@pytest.mark.parametrize("sigma", [0, 0.01, 0.3, 1, 2.5, 8, 70])
def test_taps(sigma):
    taps = optics.gaussian(sigma)
    reach, beside = taps.reach
    assert reach == beside >= 4 * sigma
    assert taps.weights.shape == (2 * reach + 1,)
    assert taps.weights.dtype == np.float32
    assert taps.weights.sum(dtype=float) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(taps.weights, taps.weights[::-1])
    want = reference.gaussian_kernel(sigma)
    reach = max(reach, len(want) // 2)
    pad = [np.pad(k, reach - len(k) // 2) for k in (taps.weights, want)]
    np.testing.assert_allclose(*pad, atol=1e-6)


@pytest.mark.parametrize("r", [0.3, 0.5, 0.7, 1, 1.5, 2.5, 10, 24.3])
def test_spans_rebuild_the_exact_disk(r):
    spans = optics.disk(r, (99, 99))
    assert (spans.dy.dtype, spans.half.dtype, spans.weight.dtype) == (np.int32, np.int32, np.float32)
    assert (spans.weight > 0).all()
    kernel, want = kernel_of_spans(spans), reference.disk_kernel(r)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert kernel.shape == want.shape
    np.testing.assert_allclose(kernel, want, atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(5, 50), (50, 5), (3, 3), (1, 12)])
def test_of_a_disk_only_what_reaches_across_the_frame_is_there(rows, columns):
    whole, part = kernel_of_spans(optics.disk(10.3, (99, 99))), kernel_of_spans(optics.disk(10.3, (rows, columns)))
    down, across = (min(n - 1, 10) for n in (rows, columns))
    centre = len(whole) // 2
    cut = whole[centre - down : centre + down + 1, centre - across : centre + across + 1]
    np.testing.assert_allclose(part, cut, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cell", [(2, 1), (2, 2), (3, 2)])
def test_a_disk_over_larger_cells_has_their_areas(cell):
    high, wide = cell
    spans = optics.disk(10.3, (99, 99), cell)
    rows, columns = spans.reach
    inner = (np.arange(200) + 0.5) / 200 - 0.5  # of a cell, in its sides
    y = (np.arange(-rows, rows + 1)[:, None] + inner).ravel() * high
    x = (np.arange(-columns, columns + 1)[:, None] + inner).ravel() * wide
    inside = np.hypot(y[:, None], x) <= 10.3
    want = inside.reshape(2 * rows + 1, 200, 2 * columns + 1, 200).mean((1, 3)) * high * wide / (np.pi * 10.3**2)
    np.testing.assert_allclose(kernel_of_spans(spans), want, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1), (3, 5_000_000), (7_000, 7_000)])
def test_a_plan_is_no_larger_than_the_picture_s_sides(size):
    """Thin pictures have radii of many times their width."""
    p = optics.plan.__wrapped__(BlurSpec("bokeh", 0.05, 0.0), *size)
    rows, columns = (n + 2 * optics.BORDER for n in p.grid)
    assert len(p.aperture.dy) <= 2 * min(rows + columns, 3 * max(p.aperture.reach))
    assert p.aperture.dy.max() < rows
    assert p.aperture.half.max() < columns


@pytest.mark.parametrize("factor", range(2, 17))
def test_the_gaussian_leaves_out_what_decimation_and_upsampling_blur(factor):
    r = 4 * factor + 2
    p = plan("gaussian", r)
    assert p.across.factor == factor
    reach, _ = p.aperture.reach
    x = np.arange(-reach, reach + 1)
    own = (p.aperture.weights.astype(float) * x * x).sum() * factor**2
    assert own + optics.variance(p.down.down) + factor**2 / 3 == pytest.approx(r * r, rel=1e-4)


# --- Down and up ---


@pytest.mark.parametrize("factor", FACTORS)
def test_the_tent_shares_every_pixel_out(factor):
    down, first = optics.tent(factor)
    assert down.sum() == pytest.approx(1)
    np.testing.assert_allclose(down, down[::-1])
    assert first + (len(down) - 1) / 2 == (factor - 1) / 2  # centred on its cell: no shift, whatever the parity
    assert (down > 0).all()
    shares = np.zeros((8 * factor,))
    for cell in range(8):
        at = cell * factor + first + np.arange(len(down))
        inside = (at >= 0) & (at < len(shares))
        shares[at[inside]] += down[inside]
    np.testing.assert_allclose(shares[factor:-factor], 1 / factor)


@pytest.mark.parametrize("mode", ["gaussian", "bokeh"])
@pytest.mark.parametrize("factor", FACTORS)
def test_upsampling_keeps_constants_and_ramps(factor, mode):
    shift, t = optics.between(factor)
    down, first = optics.tent(factor)
    up = optics.cubic_spline(t) if mode == "gaussian" else optics.best_interpolation(factor, down, first, shift)
    assert up.shape == (factor, 4)
    np.testing.assert_allclose(up.sum(1), 1)
    np.testing.assert_allclose(up, up[::-1, ::-1] if factor % 2 == 0 else up, atol=1e-9)
    centres = (shift[:, None] + np.arange(4) + 0.5) * factor  # of the cells read, in pixels
    np.testing.assert_allclose((up * centres).sum(1), np.arange(factor) + 0.5)
    assert shift.min() >= -optics.BORDER
    assert shift.max() + 3 <= optics.BORDER  # of the last cell


def test_the_best_interpolation_undoes_the_tent():
    factor = 3
    shift, t = optics.between(factor)
    down, first = optics.tent(factor)
    wave = np.sin(np.arange(600) * 2 * np.pi / 48)  # 16 cells long
    low = np.array([down @ wave[cell * factor + first :][: len(down)] for cell in range(1, 190)])
    cells = np.arange(9, 180)[:, None, None]

    def error(up):
        got = (up * low[cells - 1 + shift[:, None] + np.arange(4)]).sum(-1)
        return np.abs(got - wave[cells[..., 0] * factor + np.arange(factor)]).max()

    assert error(optics.best_interpolation(factor, down, first, shift)) < 0.5 * error(optics.cubic_spline(t))


# --- Light and highlights ---


def test_the_encoding_polynomial():
    x = np.geomspace(0.0031308, 1, 20_001)
    got = np.polynomial.polynomial.polyval(x**0.25, color.ENCODE.astype(float))
    assert np.abs(got - reference.encode(x)).max() < 3e-6


@pytest.mark.parametrize("levels", [256, 65536])
def test_the_decoding_table(levels):
    v = np.arange(levels) / (levels - 1)
    np.testing.assert_allclose(color.decode_table(levels, True), reference.decode(v), atol=1e-7)
    np.testing.assert_allclose(color.decode_table(levels, False), v, atol=1e-7)


@pytest.mark.parametrize("highlights", [0, 0.3, 0.5, 1])
def test_the_boost_table(highlights):
    table = optics.boost_table(highlights)
    t = np.linspace(0, 1, len(table)) if len(table) > 1 else np.zeros(1)
    np.testing.assert_allclose(table, reference.boost(t, highlights, (0, 1)), rtol=1e-6)
    assert len(table) == (4097 if highlights else 1)
    between = (t[1:] + t[:-1]) / 2  # what interpolation costs
    want = reference.boost(between, highlights, (0, 1))
    np.testing.assert_allclose((table[1:] + table[:-1]) / 2, want, rtol=1e-5)


@pytest.mark.parametrize("r", [1e-170, 5e-324])
def test_a_disk_smaller_than_any_square_is_one_pixel(r):
    np.testing.assert_array_equal(kernel_of_spans(optics.disk(r, (9, 9))), [[1]])
