"""ONNX files and exported torch programs as models: what their JSON declares, and what is wrong with them."""

import json

import numpy as np
import pytest
import reference

from gpublur import segmentation
from gpublur.errors import InvalidArgument, ModelUnavailable
from gpublur.segmentation import Trusted

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

SIDE, MEAN, STD = 64, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
DECLARED = {"input_size": SIDE, "mean": MEAN, "std": STD, "values": "logits"}
FLOATS = np.random.default_rng(1).random((50, 80, 3), np.float32)
WEIGHT = np.array([[1.5, -2.0, 1.0], [-1.0, 0.5, 2.0], [0.5, 1.0, -2.5]], np.float32)  # of three channels


def normalised():
    x = torch.from_numpy(FLOATS).permute(2, 0, 1)[None]
    x = nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
    x = torch.from_numpy(reference.even(x).astype(np.float32))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / std


def logits():
    return torch.einsum("oc,nchw->nohw", torch.from_numpy(WEIGHT), normalised())[0]


def stretched(p):
    return ((p - 0.1) / 0.8).clamp(0, 1).numpy()


class Mixer(nn.Module):
    """Two outputs: the three channels, and the first as a probability."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(WEIGHT)[..., None, None].clone())

    def forward(self, x):
        mixed = nn.functional.conv2d(x, self.weight)
        return mixed, mixed[:, :1].sigmoid()


def load(path):
    return segmentation.load(Trusted(path))


def as_pt2(folder, config, name="mixer"):
    torch.export.save(torch.export.export(Mixer().eval(), (torch.zeros(1, 3, SIDE, SIDE),)), folder / f"{name}.pt2")
    (folder / f"{name}.json").write_text(json.dumps(config))
    return folder / f"{name}.pt2"


def as_onnx(folder, config, name="mixer", shape=(1, 3, SIDE, SIDE), kind="FLOAT"):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    h, kind = onnx.helper, getattr(onnx.TensorProto, kind)
    weight = WEIGHT[..., None, None].astype(h.tensor_dtype_to_np_dtype(kind))
    graph = h.make_graph(
        [
            h.make_node("Conv", ["photo", "weight"], ["mixed"]),
            h.make_node("Slice", ["mixed", "zero", "one", "one"], ["first"]),  # channels 0 to 1 of axis 1
            h.make_node("Sigmoid", ["first"], ["mask"]),
        ],
        "mixer",
        [h.make_tensor_value_info("photo", kind, shape)],
        [h.make_tensor_value_info("mixed", kind, None), h.make_tensor_value_info("mask", kind, None)],
        [
            onnx.numpy_helper.from_array(weight, "weight"),
            onnx.numpy_helper.from_array(np.array([0]), "zero"),
            onnx.numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=10), folder / f"{name}.onnx")
    (folder / f"{name}.json").write_text(json.dumps(config))
    return folder / f"{name}.onnx"


MAKERS = {"onnx": as_onnx, "pt2": as_pt2}
NAMED = {"categories": ["general"], "kinds": ["background", "shoe"]}


@pytest.fixture(params=MAKERS)
def make(request, tmp_path):
    return lambda config, **options: MAKERS[request.param](tmp_path, config, **options)


def test_the_declared_output_is_the_mask(make):
    mask = load(make(DECLARED | {"values": "probabilities", "output": 1}))(FLOATS)
    np.testing.assert_allclose(mask, stretched(logits()[0].sigmoid()), atol=1e-4)
    assert np.ptp(mask) == 1


def test_logits_are_no_probabilities(make):
    with pytest.raises(InvalidArgument, match=r"model=.*mixer.* returned values from -.*, not in \[0, 1\].*logits"):
        load(make(DECLARED | NAMED | {"values": "probabilities", "output": 0}))(FLOATS)


def test_channels_mean_what_is_declared(make):
    segmenter = load(make(DECLARED | NAMED | {"output": 0}))
    channels = logits()
    np.testing.assert_allclose(segmenter(FLOATS), stretched(channels[0].sigmoid()), atol=1e-4)
    background, shoe = channels[1:].softmax(0)
    shoe = torch.maximum(shoe, channels[0].sigmoid() * shoe / (1 - background + 1e-4))  # masks.of_kinds
    np.testing.assert_allclose(segmenter(FLOATS, "shoes"), stretched(shoe), atol=1e-4)


def test_without_a_category_the_subject_is_what_is_no_background(make):
    segmenter = load(make(DECLARED | {"kinds": ["shoe", "background", "bag"]}))
    kinds = logits().softmax(0)
    np.testing.assert_allclose(segmenter(FLOATS), stretched(1 - kinds[1]), atol=1e-4)
    np.testing.assert_allclose(segmenter(FLOATS, "bag, shoe"), stretched(kinds[0] + kinds[2]), atol=1e-4)


def test_several_pictures_through_a_program_for_one(make):
    segmenter = load(make(DECLARED | {"values": "probabilities", "output": 1}))
    other = np.flip(FLOATS, 1)[:20]
    first, second = segmenter.batch([FLOATS, other])
    np.testing.assert_array_equal(first, segmenter(FLOATS))
    np.testing.assert_array_equal(second, segmenter(other))


def test_a_program_must_be_trusted(tmp_path, monkeypatch):
    """A pickle among a .pt2 file's sample inputs ran whatever it liked."""
    from gpublur.segmentation import torch_runtime

    monkeypatch.setattr(torch_runtime.torch.export, "load", lambda *args: pytest.fail("it was read"))
    path = as_pt2(tmp_path, DECLARED)
    monkeypatch.setitem(
        segmentation.registry.registered, "mine", segmentation.registry.ModelInfo("mine", str(path), "", "")
    )
    for model in (path, str(path), "mine"):
        with pytest.raises(ModelUnavailable, match=r"is a program, which may do whatever you may.*--trust-model"):
            segmentation.load(model)
        with pytest.raises(ModelUnavailable, match="is a program"):
            segmentation.check_words("prompt", "shoe", model)
    monkeypatch.undo()
    segmentation.load(Trusted(path))
    try:
        assert segmentation.register("trusted", Trusted(path)).trusted
        segmentation.load("trusted")
    finally:
        segmentation.registry.registered.pop("trusted", None)


def test_onnx_by_name_with_open_shape_and_half_precision(tmp_path):
    config = DECLARED | {"values": "probabilities", "output": "mask"}
    path = as_onnx(tmp_path, config, shape=("n", 3, "h", "w"), kind="FLOAT16")
    np.testing.assert_allclose(segmentation.load(path)(FLOATS), stretched(logits()[0].sigmoid()), atol=0.01)
    row = segmentation.registry.ModelInfo("mixer", str(path), "", "")
    assert (row.status, row.size) == ("ready", "0.0 MB")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"input_size": SIDE}, "mixer.json does not declare mean, std, values"),
        (DECLARED | {"arch": "FPN"}, "arch in mixer.json means nothing for a program"),
        (DECLARED | {"values": "percent"}, "values='percent' is not one of 'logits', 'probabilities'"),
        (DECLARED | {"output": -1}, "output=-1 is not the name or number"),
        (DECLARED | {"kinds": ["a", "a"]}, r"kinds=\['a', 'a'\] is not a list of different names"),
        (DECLARED | {"kinds": ["a", "b", "c"]}, "has no 'background'"),
    ],
)
def test_bad_declarations(make, config, words):
    with pytest.raises(ModelUnavailable, match=f"model=.*mixer.*{words}"):
        load(make(config))


def test_declarations_that_the_program_breaks(make):
    with pytest.raises(ModelUnavailable, match=r"output 0 has shape \(1, 3, 64, 64\), not \(1, 1 channel, h, w\)"):
        load(make(DECLARED))(FLOATS)
    with pytest.raises(ModelUnavailable, match="output='alpha' is not one of"):
        load(make(DECLARED | {"output": "alpha"}, name="other"))(FLOATS)
    with pytest.raises(ModelUnavailable, match=r"96|64"):
        load(make(DECLARED | {"input_size": 96, "output": 1}, name="larger"))(FLOATS)


def test_broken_programs(make):
    path = make(DECLARED)
    path.write_bytes(b"no program")
    with pytest.raises(ModelUnavailable, match=r"mixer.* cannot be loaded from"):
        load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelUnavailable, match=r"has neither mixer.json nor config\.json beside it"):
        load(path)


def test_onnx_without_its_library(tmp_path, monkeypatch):
    path = as_onnx(tmp_path, DECLARED)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ModelUnavailable, match="onnxruntime"):
        segmentation.load(path)
    monkeypatch.setattr(segmentation.registry, "find_spec", lambda name: None if name == "onnxruntime" else 1)
    assert (
        segmentation.registry.ModelInfo("m", str(path), "", "").status
        == "onnxruntime not installed: pip install onnxruntime"
    )
