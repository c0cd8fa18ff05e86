"""docs/benchmarks.md, its plots and the README's table are what the committed results give, and nothing else."""

import copy
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))
from benchmarks import plots, report, table  # noqa: E402

FOUND = report.results()


def record(who, job, median, **about):
    info = {"who": who, "job": job, "radius": 0.01, "error": {"max_lsb": 0.5, "psnr_db": 60.0}, "megapixels": 12.0}
    info |= {"cpu": "a CPU", "threads": 2, "commit": "abc", "versions": {"numpy": "2", "cupy": "none"}}
    stats = {"median": median, "iqr": 0.001, "rounds": 3}
    return {"extra_info": info | about, "stats": stats}


@pytest.fixture
def suite():
    """A made-up result with everything that a new one has."""
    of_gpublur = [
        record("gpublur high", "gaussian", 0.1, of_copy=0.25),
        record("gpublur high", "gaussian", 0.2, megapixels=24.0, of_copy=0.25),
        record("gpublur high", "gaussian", 0.3, batch=8, megapixels=2.0, of_copy=0.2),
        record("gpublur high", "gaussian", 0.15, dtype="float32", of_copy=0.3),
    ]
    others = [
        record("a peer", "gaussian", 0.05),
        record("decode", "stages of JPEG to JPEG", 0.1, radius=None, error=None),
        record("gpublur high", "JPEG to JPEG (bokeh)", 0.4, error=None),
        record("NumPy, 1 thread", "copy", 0.01, radius=None, error=None, of_copy=0.9),
    ]
    missing = [{"what": "peer[DALI]", "why": "needs a GPU"}, {"what": "peer[cuCIM]", "why": "needs a GPU"}]
    return {"benchmarks": of_gpublur + others, "datetime": "2026-01-02T03:04:05", "missing": missing}


def test_the_document_is_what_the_results_give():
    assert report.DOCUMENT.read_text() == report.document(FOUND), "run python -m benchmarks.report"


def test_the_readme_is_what_the_results_give():
    text = report.README.read_text()
    assert report.FIGURES.search(text)
    assert text == report.readme(text, FOUND), "run python -m benchmarks.report"


def test_the_plots_are_what_the_results_give():
    wanted = {
        plot.file(name): plot.digest()
        for name, result in FOUND.items()
        if report.kind_of(result) == "suite"
        for plot in plots.of(result)
    }
    drawn = {path.name for path in report.IMAGES.glob("*.svg") if path.name in wanted}
    assert drawn == set(wanted), "run python -m benchmarks.report"
    for file, digest in wanted.items():
        assert digest in (report.IMAGES / file).read_text(), f"{file} shows other figures: python -m benchmarks.report"
        assert f"images/{file}" in report.DOCUMENT.read_text()


def test_no_plot_outlives_its_result():
    shown = report.DOCUMENT.read_text()
    for path in report.IMAGES.glob("*.svg"):
        assert path.name in shown, f"{path.name} is of no result that is there: remove it"


def test_a_changed_figure_is_seen():
    name, result = next((n, r) for n, r in FOUND.items() if report.kind_of(r) == "suite")
    other = copy.deepcopy(result)
    next(b for b in other["benchmarks"] if b["name"].startswith("test_radius"))["stats"]["median"] *= 1.5
    changed = FOUND | {name: other}
    assert report.document(changed) != report.document(FOUND)
    assert {plot.digest() for plot in plots.of(other)} != {plot.digest() for plot in plots.of(result)}


def test_peers_are_compared_with_the_same_photo_alone(suite):
    rows = [line.split(" | ") for line in table.lines(suite)][2:]
    assert [(r[1], r[3], r[4], r[-1].rstrip(" |")) for r in rows[:5]] == [
        ("12 MP, float32", "gpublur high", "150.0", ""),
        ("12 MP", "a peer", "50.0", "0.50"),
        ("12 MP", "gpublur high", "100.0", ""),
        ("24 MP", "gpublur high", "200.0", ""),
        ("8 x 2 MP", "gpublur high", "300.0", ""),
    ]


def test_what_was_not_measured_is_named(suite):
    text = report.document({"mine": suite})
    assert "* peer[DALI], peer[cuCIM]: needs a GPU" in text
    assert "cupy none" not in text


def test_every_plot_has_its_data(suite, tmp_path):
    pytest.importorskip("matplotlib")
    drawn = {plot.name: plot for plot in plots.of(suite)}
    assert set(drawn) == {"radius", "accuracy", "megapixels", "roofline", "stages"}
    assert drawn["radius"].panels == {"gaussian": {"a peer": [(0.01, 50.0)], "gpublur high": [(0.01, 100.0)]}}
    assert drawn["megapixels"].panels[""]["gpublur, gaussian"] == [(12.0, 100.0), (24.0, 200.0)]
    assert drawn["stages"].panels[""] == {"all of it": [(400.0, 0.0)], "decode": [(100.0, 0.0)]}
    assert drawn["roofline"].panels[""]["copy"] == [(90.0, 0.0)]
    for plot in drawn.values():
        plot.draw(tmp_path / plot.file("mine"))
        assert plot.digest() in (tmp_path / plot.file("mine")).read_text()


def test_the_readme_takes_some_rows_of_one_photo_of_the_result_it_names(suite, monkeypatch):
    monkeypatch.setattr(report, "ROWS", {("gaussian", "a peer"), ("gaussian", "gpublur high")})
    text = "before\n<!-- figures: benchmarks/results/mine.json -->\nold\n<!-- end of figures -->\nafter\n"
    found = report.readme(text, {"mine": suite, "other": {}})
    assert "| gaussian | a peer | 50.0 | 0.50 | 0.50 |" in found
    assert "JPEG" not in found
    assert "200.0" not in found
    assert "150.0" not in found
    assert "old" not in found
    assert found.startswith("before\n<!--")
    assert found.endswith("-->\nafter\n")


def test_other_kinds_of_results_are_shown():
    run = {
        "cpus": 2, "alone": {"decode": 9.5, "blur": 5.0}, "end_to_end": {"ordered": 3.0, "as finished": 3.25},
        "cpu_utilisation": 0.97, "slowest": "blur", "of_slowest": 0.6, "capacity": 3.275, "of_capacity": 0.916,
    }  # fmt: skip
    memory = {"photos": 10_000, "most_first_half": 512.4, "most_second_half": 512.9}
    throughput = {"kind": "throughput", "cpu": "a CPU", "megapixels": 12, "runs": [run], "memory": memory}
    rows = [{"mode": "bokeh", "quality": "high", "radius": 0.01, "bytes": 2_000_000, "photo_and_result": 8_000_000}]
    needed = {"kind": "memory", "megapixels": 12, "threads": 2, "rows": rows}
    rows = [{"job": "blur", "mode": "bokeh", "radius": 0.01, "seconds": 0.05, "bytes": 10**8}]
    about = {"name": "a CPU", "threads": 2}
    mine = {"kind": "gpublur bench", "machine": about, "megapixels": 12.0, "copy_bytes_per_second": 1e10, "rows": rows}
    turn = {"photos": 50, "wall": 25.0, "cpu": 20.0, "load": 7.25}
    killed = {"killed_after": 9, "pictures": 20, "files": 20, "lines": 20, "lines_once": 20, "same_bytes": 19}
    scale = {
        "kind": "scale", "cpu": "a CPU", "cpus": 2, "datetime": "2026-01-02T03", "megapixels": 2, "process": [turn],
        "ray": [turn | {"cpu": 22.0, "cpu_of_actors": 21.0}], "killed": killed,
        "compiled": {"eager": 0.3, "compiled": 0.1},
    }  # fmt: skip
    text = report.document({"a": throughput, "b": needed, "c": mine, "d": scale})
    assert "| process | 50 | 25.0 | 0.400 |  | 2.00 | 7.2 |" in text
    assert "| Ray | 50 | 25.0 | 0.440 | 0.420 | 2.00 | 7.2 |" in text
    assert "19 with the bytes" in text
    assert "eager 300 ms, compiled by Inductor 100 ms" in text
    assert "| 2 | 9.50 | 5.00 | 3.00 | 3.25 | 97% | 60% | 92% |" in text
    assert "512 MB in the first half, 513 MB in the second" in text
    assert "| bokeh | high | 0.01 | 2.0 | 25% |" in text
    assert "| blur (bokeh) | 0.01 | 50.00 | 240 | 20.0% |" in text


def test_one_command_runs_everything(monkeypatch, tmp_path):
    from benchmarks import run

    monkeypatch.setattr(run.bench, "cpu", lambda: "Intel(R) Xeon(R) CPU E5 @ 2.20GHz")
    name = run.machine(2)
    assert name == "intel-xeon-e5-2-threads"
    commands = run.parts(name, tmp_path, 2, quick=False)
    assert list(commands)[:3] == [f"{name}.json", f"{name}-throughput.json", f"{name}-memory.json"]
    for file, command in commands.items():
        assert str(tmp_path / file) in " ".join(command)
    assert json.dumps(commands).count("0.05") == 0  # --quick's sizes
