"""The shipped network in its two files: what a CPU runs and what a GPU runs give one mask; neither needs the other."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpublur import backends, image_io, segmentation
from gpublur.batch import process
from gpublur.demo import PHOTO as DEMO
from gpublur.extras import install

PHOTO = image_io.decode(DEMO).pixels[::2, ::2]


def test_both_files_give_the_same_mask():
    pytest.importorskip("segmentation_models_pytorch")
    onnx = segmentation.load("general")
    smp = segmentation.load(Path(segmentation.registry.SHIPPED["general"].path))
    assert type(onnx.runtime).__name__ == "OnCpu"
    for prompt in (None, "dog", "person"):
        masks = [model(PHOTO, prompt) for model in (onnx, smp)]
        np.testing.assert_allclose(*masks, atol=1e-3)
    assert np.ptp(masks[0]) < 1  # there is nobody
    assert np.ptp(onnx(PHOTO)) == 1


def test_the_shipped_network_is_what_export_makes_of_the_weights(tmp_path):
    """A file that is older than the weights beside it would give other masks on a CPU than on a GPU."""
    pytest.importorskip("segmentation_models_pytorch")
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from training.export import export

    row = segmentation.registry.SHIPPED["general"]
    made, shipped = export(Path(row.path)), onnx.load(row.on_cpu)
    weights = [
        {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer} for model in (made, shipped)
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, values in weights[0].items():
        np.testing.assert_array_equal(values, weights[1][name])


def test_a_mask_and_words_need_no_torch():
    code = """
import sys
for name in ("torch", "segmentation_models_pytorch", "safetensors", "huggingface_hub", "timm"):
    sys.modules[name] = None
import gpublur
from gpublur import image_io, segmentation
from gpublur.demo import PHOTO as DEMO
photo = image_io.decode(DEMO).pixels[::4, ::4]
assert all(row.status == "ready" for row in segmentation.registry.SHIPPED.values())
matte = gpublur.segment(photo, device="cpu")
assert matte.max() == 1 and matte.min() == 0
assert gpublur.segment(photo, device="cpu", prompt="person").mean() < matte.mean()
try:
    gpublur.segment(photo, model=lambda picture: picture[0, 0], device="cpu")
except gpublur.ModelUnavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "needs torch" in done.stdout
    assert install("torch") in done.stdout


def test_threads_follow_the_callers_share(monkeypatch):
    """Several pictures at once share the CPUs out: each thread's session has as many threads as it may use."""
    segmentation.sharing._kept.clear()
    model, made = segmentation.load("general"), []
    load = model.runtime.program._load
    monkeypatch.setattr(model.runtime.program, "_load", lambda threads: made.append(threads) or load(threads))
    monkeypatch.setattr(model.runtime.program, "_sessions", {})
    data = image_io.encode(image_io.Photo(PHOTO[::2, ::2].copy(), "PNG"))
    alone = backends.threads()
    outcomes = list(process([data] * 4, lambda pixels: (model(pixels) * 255).astype(np.uint8), workers=alone + 1))
    assert not any(outcome.error for outcome in outcomes)
    assert made == ([alone, 1] if alone > 1 else [1])


def test_a_forked_process_works_like_its_parent():
    """It has none of its parent's threads, neither those of the loops nor the model's."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    code = """
import os, numpy as np, gpublur
from gpublur import image_io
from gpublur.demo import PHOTO as DEMO
photo = image_io.decode(DEMO).pixels[::4, ::4]
editor = gpublur.Editor("cpu")
want = editor.blur_background(photo)
child = os.fork()
if child == 0:
    os._exit(int(not np.array_equal(editor.blur_background(photo), want)))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout == "0\n", done.stderr


def test_the_model_reports_to_nobody(tmp_path):
    """ONNX Runtime 1.32 keeps an identity for its reports in the user's cache, unless it is told not to report."""
    code = f"import gpublur; print(gpublur.segment({str(DEMO)!r}, device='cpu').max())"
    left_out = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {k: v for k, v in os.environ.items() if k not in left_out} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "1.0\n", done.stderr
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
