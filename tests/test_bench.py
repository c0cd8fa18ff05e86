"""``gpublur bench`` on tiny pictures: what is measured, written, drawn and refused; no figure is looked at."""

import json
import sys
from itertools import count
from pathlib import Path

import emulated
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import find_ellipse, scene

import gpublur
from gpublur import bench, cli, image_io
from gpublur.extras import install
from gpublur.image_io import Photo

PHOTO = Photo((scene(36, 48) * 255).astype(np.uint8), "JPEG")


TICK = 0.25  # seconds between two looks at the clock
COPIED = 1 << 20


@pytest.fixture(scope="module")
def measured(torch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.time, "perf_counter", count(0, TICK).__next__)
        patch.setattr(bench, "COPIED", COPIED)
        return bench.run(PHOTO, gpublur.Editor("cpu", find_ellipse), seconds=0)


def run(monkeypatch, *args):
    monkeypatch.setattr(bench, "COPIED", COPIED)
    monkeypatch.setattr(cli, "make_editor", lambda device, model, text_model: gpublur.Editor("cpu", find_ellipse))
    return CliRunner().invoke(cli.main, ["bench", "--seconds", "0", *map(str, args)])


def test_every_radius_of_both_modes_is_measured(measured):
    rows = measured["rows"]
    assert {(r["mode"], r["radius"]) for r in rows if r["job"] == "blur"} == {
        (mode, radius) for mode in ("bokeh", "gaussian") for radius in bench.RADII
    }
    assert [r["job"] for r in rows if r["job"] != "blur"] == ["segment", "JPEG to JPEG"]
    assert {r["seconds"] for r in rows} == {TICK}
    assert {r["bytes"] for r in rows} == {None, 3 * 36 * 48 * 3 + 2 * 36 * 48}
    assert measured["copy_bytes_per_second"] == 2 * COPIED / TICK
    assert measured["machine"]["device"] == "cpu"


def test_the_table_says_what_the_figures_are():
    rows = [
        {"job": "blur", "mode": "bokeh", "radius": 0.01, "seconds": 0.05, "bytes": 10**8},
        {"job": "segment", "mode": None, "radius": None, "seconds": 0.1, "bytes": None},
    ]
    lines = list(bench.table({"megapixels": 12.0, "copy_bytes_per_second": 1e10, "rows": rows}))
    assert lines[1:] == [("blur (bokeh)", "0.01", "50.00", "240", "20.0%"), ("segment", "", "100.00", "120", "")]


def test_the_clock_waits_for_the_gpu():
    """A result that is asked for before it is there would be timed as nothing."""
    waited = []

    class Late(bench.Place):
        def wait(self, result=None):
            waited.append(result)

    bench._median(lambda: "result", Late(), 0)
    assert waited == ["result"] * (1 + bench.ROUNDS[0])


def test_a_gpu_has_the_same_ways(monkeypatch):
    gpu = emulated.EmulatedGpu()
    monkeypatch.setattr(bench.loader, "gpu", lambda: gpu)
    monkeypatch.setattr(bench, "COPIED", 1000)
    here, waits = bench.place("cuda"), []
    np.testing.assert_array_equal(here.get(here.put(PHOTO.pixels)), PHOTO.pixels)
    monkeypatch.setattr(gpu, "download", waits.append)
    assert here.copy_bandwidth(2) > 0
    assert len(waits) >= bench.ROUNDS[0]  # within the clock


@pytest.mark.usefixtures("torch")
def test_the_command_writes_figures_and_a_plot(tmp_path: Path, monkeypatch):
    pytest.importorskip("matplotlib")
    source, written, plotted = tmp_path / "a.png", tmp_path / "out" / "a.json", tmp_path / "a.svg"
    source.write_bytes(image_io.encode(PHOTO, "PNG"))
    result = run(monkeypatch, source, "--json", written, "--plot", plotted)
    assert result.exit_code == 0, result.output
    found = json.loads(written.read_text())
    assert found["megapixels"] == 36 * 48 / 1e6
    assert all(line[2] in result.output for line in bench.table(found))
    assert "PNG to PNG" in result.output
    assert plotted.read_text().count("<path") > 2 * len(bench.RADII)


def test_without_matplotlib_the_plot_is_refused_before_anything_is_measured(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(monkeypatch, "--plot", tmp_path / "a.png", "--json", tmp_path / "a.json")
    assert result.exit_code == 1
    assert install("bench") in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("torch")
def test_without_a_photo_it_takes_the_demo(tmp_path: Path, monkeypatch):
    result = run(monkeypatch, "--size", 0.02, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "a.json").read_text())["megapixels"] >= 0.02
    assert "JPEG to JPEG" in result.output
