"""benchmarks/gpu_check on the emulator: what must not go wrong on the day when there is a GPU."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import emulator
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

pytest.importorskip("torch")
pytest.importorskip("scipy")
from benchmarks.gpu_check import report, run, schema  # noqa: E402

pytestmark = pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())

MINUTES = 10  # for all parts of a run: by the test's own clock below, or more than a rehearsal takes anywhere


class Clock:
    """The time in a file, which goes on only when a part, in a process of its own, says so."""

    def __init__(self, file):
        self.file = file

    def __call__(self):
        return float(self.file.stat().st_size)

    def pass_by(self, seconds):
        with self.file.open("ab") as file:
            file.write(b"." * seconds)


MADE_UP = """
import os, time
from benchmarks.gpu_check.schema import Copy, Missing

def fine(job):
    yield Copy(8, 2.0, job.bandwidth or 4.0)

def broken(job):
    yield Copy(8, 2.0, 4.0)
    print("what it printed", flush=True)
    raise RuntimeError("on purpose")

def crashing(job):
    os.abort()

def hanging(job):
    yield Missing("something", "not here")
    job.clock.pass_by(86)
    while True:
        time.sleep(60)

def endless(job):
    while True:
        yield Copy(8, 2.0, 4.0)
        job.clock.pass_by(5)
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Some parts of a rehearsal, by the command itself."""
    out = tmp_path_factory.mktemp("check") / "result.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")])}
    command = (sys.executable, "-m", "benchmarks.gpu_check", "--dry", "--minutes", str(MINUTES), "--out", str(out))
    done = subprocess.run(
        [*command, "--parts", "machine", "copy", "road", "kernels"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout, out


def test_a_rehearsal_finds_everything(result):
    found, printed, out = result
    schema.check(found)
    assert {name: part["state"] for name, part in found["parts"].items()} == dict.fromkeys(found["parts"], "ok")
    road = found["parts"]["road"]["records"]
    assert {(r["mode"], r["mask"], r["batch"]) for r in road} == {
        (mode, mask, batch) for mode in ("bokeh", "gaussian") for mask in ("full", "coarse") for batch in (1, 8)
    }
    assert all(r["graph_equal"] and r["no_wait"] and r["of_roofline"] > 0 for r in road)
    stems = {r["entry"].partition("_")[0] for r in found["parts"]["kernels"]["records"]}
    assert stems == {"fit", "smooth", "cells", "pyramid", "pull", "decimate", "separable", "spans", "composite"}
    assert found["dry"]
    assert "no figure here is a GPU's" in printed
    assert "\n".join(report.lines(found)) in printed
    assert str(out) in printed


def test_the_report_reads_a_result_again(result):
    found, _, out = result
    command = (sys.executable, "-m", "benchmarks.gpu_check", "--report", str(out))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")])}
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert again.strip() == "\n".join(report.lines(found)).strip()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda r: r.pop("dry"), "result: dry"),
        (lambda r: r.update(version=0), "version 0"),
        (lambda r: r["parts"]["copy"].update(state="fine"), "copy.state"),
        (lambda r: r["parts"].update(other=r["parts"]["copy"]), "no part 'other'"),
        (lambda r: r["parts"]["copy"]["records"][0].update(gb_s="fast"), r"copy.records\[0\].gb_s is 'fast'"),
        (lambda r: r["parts"]["copy"]["records"][0].update(gb_s=float("nan")), "gb_s is nan"),
        (lambda r: r["parts"]["copy"]["records"][0].update(bytes=True), "bytes is True"),
        (lambda r: r["parts"]["road"]["records"][0].update(graph_equal=1), "graph_equal is 1"),
        (lambda r: r["parts"]["road"]["records"][0].update(extra=1), "extra missing or unknown"),
        (lambda r: r["parts"]["machine"]["missing"].append("kornia"), "machine.missing"),
    ],
)
def test_a_broken_result_is_refused(result, spoil, told):
    broken = copy.deepcopy(result[0])
    spoil(broken)
    with pytest.raises(schema.SchemaError, match=told):
        schema.check(broken)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A run of parts that go wrong in every way."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "made_up_parts.py").write_text(MADE_UP)
    weights = {"broken": 10, "crashing": 10, "hanging": 2, "endless": 2, "copy": 10}
    parts = {name: (f"made_up_parts:{name.replace('copy', 'fine')}", weight) for name, weight in weights.items()}
    (folder / "clock").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        found, path = run.run(
            folder / "out.json", list(parts), MINUTES, dry=True, parts=parts, tell=lambda line: None,
            clock=Clock(folder / "clock"),
        )  # fmt: skip
    return found, json.loads(path.read_text())


def test_a_part_that_fails_leaves_the_others(troubled):
    parts = troubled[0]["parts"]
    states = {name: part["state"] for name, part in parts.items()}
    assert states == {"broken": "failed", "crashing": "failed", "hanging": "killed", "endless": "cut", "copy": "ok"}
    assert "RuntimeError: on purpose" in parts["broken"]["error"]
    assert parts["broken"]["records"] == parts["copy"]["records"] == [{"bytes": 8, "seconds": 2.0, "gb_s": 4.0}]
    assert "exit code -6" in parts["crashing"]["error"]
    assert parts["hanging"]["missing"] == [{"what": "something", "why": "not here"}]
    assert len(parts["endless"]["records"]) > 3
    assert troubled[0] == troubled[1]


def test_the_time_is_kept(troubled):
    """A part is allowed its share, by weight, of what the parts before it have left."""
    found = troubled[0]
    weights, left = [10, 10, 2, 2, 10], 60 * MINUTES
    spent = {"broken": 0, "crashing": 0, "hanging": 86, "endless": 80, "copy": 0}
    assert {name: part["seconds"] for name, part in found["parts"].items()} == spent
    for i, part in enumerate(found["parts"].values()):
        allowed = left * weights[i] / sum(weights[i:])
        assert part["allowed"] == pytest.approx(allowed, abs=0.01)
        assert part["seconds"] < allowed + 1  # what hangs is ended at its time, what ends by itself is within it
        left -= part["seconds"]
    assert found["seconds"] == sum(spent.values())


def test_what_there_is_no_time_for_is_not_begun(tmp_path):
    found, _ = run.run(tmp_path / "out.json", ["copy", "model"], 0, dry=True, tell=lambda line: None)
    schema.check(found)
    assert {part["state"] for part in found["parts"].values()} == {"not begun"}


def test_a_second_run_goes_on(tmp_path, monkeypatch):
    (tmp_path / "made_up_parts.py").write_text(MADE_UP)
    monkeypatch.syspath_prepend(str(tmp_path))
    out, told = tmp_path / "out.json", []
    parts = dict.fromkeys(("copy", "road", "model"), ("made_up_parts:fine", 1))

    def again(names, **parts_of):
        told.clear()
        options = {"dry": True, "parts": parts | parts_of, "tell": told.append}
        return run.run(out, names, MINUTES, **options)[0]["parts"]

    again(["copy", "road"], road=("made_up_parts:broken", 1))
    found = again(["copy", "road", "model"])
    assert ["earlier" in line for line in told] == [True, False, False]
    assert {name: part["state"] for name, part in found.items()} == dict.fromkeys(("copy", "road", "model"), "ok")
    assert found["road"]["records"][0]["gb_s"] == 4.0  # what it was told of the copy
    again(["road"])
    assert told == ["road: ok, 1 records, from an earlier run"]
    assert set(json.loads(out.read_text())["parts"]) == {"copy", "road", "model"}  # nothing is lost
    again(["copy"], copy=("made_up_parts:broken", 1))
    assert "earlier" in told[0]
    monkeypatch.setattr(run, "commit", lambda: "other")
    again(["copy"])
    assert "earlier" not in told[0]


def test_another_machine_begins_anew(tmp_path):
    def with_gpu(gpu, **more):
        return {"machine": schema.Part("ok", 1, 1, None, [], [{"gpu": gpu, "clocks": "now"}]), **more}

    copied = schema.Part("ok", 1, 1, None, [], [])
    earlier = {name: vars(part) for name, part in with_gpu("H100", copy=copied, build=copied).items()}
    out = tmp_path / "out.json"
    out.write_text(json.dumps({"version": schema.VERSION, "commit": "this", "parts": earlier}))
    assert run.finished(out, "this", with_gpu("H100")) == {"copy": copied}
    assert run.finished(out, "this", with_gpu("H200")) == {}
    assert run.finished(tmp_path / "none.json", "this", {}) == {}


def test_what_is_right_comes_before_what_is_fast():
    names = list(run.PARTS)
    order = ["machine", "build", "tests", "sanitizer", "copy", "road", "peers"]
    assert [name for name in names if name in order] == order
    assert set(names) == set(schema.RECORDS)
