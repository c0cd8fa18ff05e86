"""The CPU's spans against the aperture they stand for, and what they leave out where weights are all alike."""

from types import SimpleNamespace

import numba
import numpy as np
import pytest
from test_optics import kernel_of_spans

from gpublur import optics
from gpublur.backends.cpu import ops as cpu
from gpublur.optics import BORDER

HEIGHT, WIDTH = 110, 2300  # cells: several bands, and more columns than one tile has


def cells():
    """Weighted light (rows, planes, columns): weights of 1 with a subject, a soft rim, lamps, and rows of 0."""
    rng = np.random.default_rng(0)
    weight = np.ones((HEIGHT, WIDTH), np.float32)
    weight[20:75, 400:900] = 0
    weight[20:75, 1500:2200] = 0
    weight[50, 1800] = 0.5  # the background through a gap
    weight[80:82] = 0
    weight[90, [5, 1200, 2299]] = 700  # lamps
    weight[30:60, 890:900] = np.linspace(0.1, 1.3, 10, dtype=np.float32)
    return np.concatenate([rng.random((HEIGHT, 3, WIDTH), np.float32) * weight[:, None], weight[:, None]], axis=1)


def spans_of(light, aperture, monkeypatch):
    """Blur light band by band, as `pipeline.blur` does, into (rows, planes, columns) from -BORDER to BORDER beyond."""
    monkeypatch.setattr(cpu, "BAND_BYTES", 1)  # bands of 32 rows
    source, axis = SimpleNamespace(colours=light.shape[1] - 1), optics.best_axis(1)
    plan = optics.Plan(HEIGHT, WIDTH, axis, axis, aperture)
    frames, rows = cpu.frames(plan, source), {}
    frames.cells[:] = np.nan  # of rows that are not there
    bands = list(cpu.bands(plan, source))
    assert len(bands) > 2
    for band in bands:
        for y in range(*band.fresh):
            row = frames.cells[y % len(frames.cells)]
            row[:] = 0
            if 0 <= y < HEIGHT:
                row[:, frames.margin : -frames.margin] = light[y]
        cpu.spans(aperture, plan, frames, band)
        for y in range(*band.soft):
            rows[y] = frames.soft[y % len(frames.soft), :, frames.margin - BORDER :][:, : WIDTH + 2 * BORDER].copy()
    return np.stack([rows[y] for y in range(-BORDER, HEIGHT + BORDER)])


def convolved(light, kernel):
    down, across = (n // 2 + BORDER for n in kernel.shape)
    wide = np.pad(light.astype(float), ((down, down), (0, 0), (across, across)))
    out = np.zeros((HEIGHT + 2 * BORDER, light.shape[1], WIDTH + 2 * BORDER))
    for (dy, dx), share in np.ndenumerate(kernel):
        out += share * wide[dy : dy + out.shape[0], :, dx : dx + out.shape[2]]
    return out


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("planes", [4, 2])
@pytest.mark.parametrize("cell", [(1, 1), (2, 1)])
def test_spans_are_the_aperture_wherever_weights_are_alike(cell, planes, threads, monkeypatch):
    threads = min(threads, numba.config.NUMBA_NUM_THREADS)
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        light, aperture = cells()[:, 4 - planes :], optics.disk(5.3, (HEIGHT, WIDTH), cell)
        got = spans_of(light, aperture, monkeypatch)
    finally:
        numba.set_num_threads(before)
    want = convolved(light, kernel_of_spans(aperture))
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)  # float32 sums along rows
    weights = got[:, -1]
    np.testing.assert_array_equal(weights[BORDER + 42 : BORDER + 58, BORDER + 500 : BORDER + 800], 0)
    np.testing.assert_array_equal(weights[BORDER + 20 : BORDER + 28, BORDER + 1000 : BORDER + 1400], 1)


def test_sums_of_weights_that_decimation_made_of_ones_are_ones(monkeypatch):
    aperture = optics.disk(5.3, (HEIGHT, WIDTH))
    for weight, want in ((1 + 2**-23, 1), (1 - 2**-24, 1), (1.001, pytest.approx(1.001, abs=1e-4))):
        light = np.full((HEIGHT, 2, WIDTH), weight, np.float32)
        assert spans_of(light, aperture, monkeypatch)[60, -1, WIDTH // 2] == want
