"""What an edit costs in counts that no machine changes: launches, buffers, bytes, calls; written down in counts.json.

A count that grows is a regression, one that shrinks is to be written down: ``python tests/test_counts.py`` prints them
(and tests/test_instructions.py the last of them).
Times are compared on one machine by ``pytest benchmarks --benchmark-compare``.
"""

import json
import sys
import tracemalloc
from pathlib import Path

import emulated
import emulator
import numba
import numpy as np
import pytest

from gpublur.api import Editor
from gpublur.memory import Memory

WRITTEN = Path(__file__).with_name("counts.json")
SIZE = 480, 640
PHOTO = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
MASK = np.zeros(SIZE, np.uint8)
MASK[200:400, 250:420] = 255
COARSE = MASK[::4, ::4] / np.float32(255)
EDITS = {
    "gaussian": lambda editor: editor.blur_background(PHOTO, "gaussian", 0.01, mask=MASK),
    "bokeh": lambda editor: editor.blur_background(PHOTO, "bokeh", 0.01, mask=MASK),
    "bokeh, mask refined": lambda editor: editor.blur_background(PHOTO, "bokeh", 0.05, mask=COARSE, refine=True),
    "cut-out": lambda editor: editor.remove_background(PHOTO, mask=MASK),
}
CALLS_SLACK = 1.1  # of functions of the host: versions of Python and NumPy call some more
SLACK = 1.02  # of allocations: NumPy's and Python's own small ones differ between versions


def on_the_gpu(edit, monkeypatch):
    """Count an edit's launches by kernel, its buffers, and the bytes of these, on the emulated backend."""
    buffers = []

    class Counting(emulated.EmulatedMemory):
        scratch = Memory.scratch  # as one, which the emulated memory gives apart

        def empty(self, shape, dtype):
            out = super().empty(shape, dtype)
            buffers.append(out.nbytes)
            return out

    editor = emulated.editor(monkeypatch)
    from gpublur.backends.cuda import loader

    gpu = loader.gpu()
    gpu.memory = Counting
    edit(editor)  # tables are uploaded once
    gpu.launches.clear()
    buffers.clear()
    edit(editor)
    counts = {"launches": list(gpu.launches), "buffers": len(buffers), "bytes": sum(buffers)}
    monkeypatch.setattr(gpu, "launch", lambda *_: None, raising=False)
    return counts | {"calls": calls_of(lambda: edit(editor))}


def calls_of(work):
    """Count the functions of Python and of C that a work calls."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def on_the_cpu(edit):
    """Return the most bytes that an edit holds at once beside its input, and how often each operation is called."""
    editor, calls = Editor("cpu"), {}
    backend = editor.backend

    class Counted:
        def __getattr__(self, name):
            found = getattr(backend, name)
            if name not in ("matte", "decimate", "separable", "spans", "composite", "fill", "cutout"):
                return found

            def counted(*args):
                calls[name] = calls.get(name, 0) + 1
                return found(*args)

            return counted

    editor._engine.device = editor._engine.device._replace(backend=Counted())
    before = numba.get_num_threads()
    numba.set_num_threads(1)  # bands grow with the threads
    try:
        edit(editor)
        calls.clear()
        tracemalloc.start()
        edit(editor)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        numba.set_num_threads(before)
    return {"verbs": calls, "most bytes": most}


@pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())
@pytest.mark.parametrize("name", EDITS)
def test_launches_and_buffers(name, monkeypatch):
    found, written = on_the_gpu(EDITS[name], monkeypatch), json.loads(WRITTEN.read_text())["gpu"][name]
    calls, most = found.pop("calls"), written.pop("calls")
    assert found == written
    assert calls <= most * CALLS_SLACK


@pytest.mark.parametrize("name", EDITS)
def test_verbs_and_memory(name):
    found, written = on_the_cpu(EDITS[name]), json.loads(WRITTEN.read_text())["cpu"][name]
    assert found["verbs"] == written["verbs"]
    assert found["most bytes"] == pytest.approx(written["most bytes"], rel=SLACK - 1)


def main():
    gpu = {}
    for name, edit in EDITS.items():
        with pytest.MonkeyPatch.context() as monkeypatch:
            gpu[name] = on_the_gpu(edit, monkeypatch)
    print(json.dumps({"gpu": gpu, "cpu": {name: on_the_cpu(edit) for name, edit in EDITS.items()}}, indent=1))


if __name__ == "__main__":
    main()
