"""ONNX files for tensors on a GPU: ONNX Runtime's CUDA provider by a stand-in that takes memory here for a GPU's."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from test_programs import DECLARED, FLOATS, SIDE, as_onnx

from gpublur import segmentation
from gpublur.segmentation import config, network, onnx, registry, torch_runtime

torch = pytest.importorskip("torch")
runtime = pytest.importorskip("onnxruntime")

PROBABILITY = DECLARED | {"values": "probabilities", "output": "mask"}
OWN, CALLERS = 77, 88  # streams


class Stream:
    """A stream of torch's, of which is noted who waits for whom."""

    device_index = 3

    def __init__(self, log, number):
        self.log, self.cuda_stream = log, number

    def wait_stream(self, other):
        self.log.append(("wait", self.cuda_stream, other.cuda_stream))


class Binding:
    def __init__(self):
        self.bound, self.shape = {}, None

    def bind_input(self, *place):
        self.bound["input"] = place

    def bind_output(self, *place):
        self.bound["output"] = place

    def get_outputs(self):
        return [SimpleNamespace(shape=lambda: list(self.shape))]


class Session:
    """A session on the CPU that says it is one on a GPU, and reads and writes where it is bound to."""

    providers = [onnx.CUDA, onnx.CPU]  # noqa: RUF012

    def __init__(self, log, real):
        self.log, self.real = log, real

    def __getattr__(self, name):
        return getattr(self.real, name)

    def get_providers(self):
        return self.providers

    def io_binding(self):
        return Binding()

    def run(self, *_):
        pytest.fail("a run with arrays goes by way of this machine's memory")

    def run_with_iobinding(self, binding, options=None):
        name, *_device, kind, shape, address = binding.bound["input"]
        output, *where = binding.bound["output"]
        [result] = self.real.run([output], {name: at(address, kind, shape)})
        binding.shape = result.shape
        waits = not options or options.get_run_config_entry("disable_synchronize_execution_providers") != "1"
        self.log.append(("run", binding.bound, waits))
        if len(where) > 2:
            _, _, kind, shape, address = where
            assert (result.dtype, result.shape) == (np.dtype(kind), tuple(shape))
            at(address, kind, shape)[...] = result


def at(address, kind, shape):
    """The array at an address."""
    count = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * count).from_address(address), kind).reshape(shape)


@pytest.fixture
def log(monkeypatch):
    """What was asked of ONNX Runtime and torch, in its order."""
    log, made = [], runtime.InferenceSession

    def session(path, options, providers):
        log.append(("session", providers))
        return Session(log, made(path, options, providers=[onnx.CPU]))

    monkeypatch.setattr(runtime, "InferenceSession", session)
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [onnx.CUDA, onnx.CPU])
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(log, OWN))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(log, CALLERS))
    return log


def photos(count, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).random((count, 3, SIDE, SIDE), np.float32))


def loaded(path):
    return torch_runtime.loaded(path, config.read(path.with_suffix(".json")), "cpu")


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16"])
def test_memory_of_the_tensors_on_the_callers_stream(tmp_path, log, kind):
    path = as_onnx(tmp_path, PROBABILITY, shape=("n", 3, "h", "w"), kind=kind)
    network = loaded(path)
    dtype, takes = (torch.float32, np.float32) if kind == "FLOAT" else (torch.float16, np.float16)
    options = {"device_id": "3", "user_compute_stream": str(OWN), "arena_extend_strategy": "kSameAsRequested"}
    assert log[0] == ("session", [(onnx.CUDA, options), onnx.CPU])
    assert log[1] == ("wait", OWN, CALLERS)
    assert log[2][1]["output"] == ("mask", "cuda", 3)  # the first run tells the shape, and is waited for
    assert log[2][2]
    assert len(log) == 3
    log.clear()
    given = photos(3).to(dtype)
    found = network._channels(given)
    assert [what for what, *_ in log] == ["wait", "run", "run", "run", "wait"]
    assert (log[0], log[-1]) == (("wait", OWN, CALLERS), ("wait", CALLERS, OWN))
    for photo, (_, bound, waits) in zip(given, log[1:-1], strict=True):
        assert bound["input"] == ("photo", "cuda", 3, takes, (1, 3, SIDE, SIDE), photo.data_ptr())
        assert bound["output"][:5] == ("mask", "cuda", 3, takes, (1, 1, SIDE, SIDE))
        assert not waits
    places = [bound["output"][5] for _, bound, _ in log[1:-1]]
    assert np.diff(places).tolist() == [SIDE * SIDE * np.dtype(takes).itemsize] * 2  # one tensor for all
    assert found.shape == (3, 1, SIDE, SIDE)
    want = onnx.Onnx(path, network.config)
    for photo, mask in zip(given, found, strict=True):
        assert want._session().real.run(["mask"], {"photo": photo[None].numpy()})[0].tolist() == mask[None].tolist()


def test_one_photo_comes_back_in_the_memory_that_was_written(tmp_path, log):
    network = loaded(as_onnx(tmp_path, PROBABILITY))
    log.clear()
    found = network._channels(photos(1))
    assert log[1][1]["output"][5] == found.data_ptr()


def test_the_mask_is_that_of_the_cpu(tmp_path, log, monkeypatch):
    path = as_onnx(tmp_path, PROBABILITY)
    on_gpu = network.Network("mixer", loaded(path), "cpu")
    masks = on_gpu.batch([FLOATS, np.flip(FLOATS, 1)])
    monkeypatch.undo()
    want = segmentation.load(path).batch([FLOATS, np.flip(FLOATS, 1)])
    np.testing.assert_array_equal(masks, want)


def test_what_the_program_breaks(tmp_path, log):
    with pytest.raises(ValueError, match="output='alpha' is not one of mixed, mask"):
        loaded(as_onnx(tmp_path, DECLARED | {"output": "alpha"}))
    with pytest.raises(ValueError, match=r"its output mask is tensor\(double\), not float32 or float16"):
        loaded(as_double(tmp_path))


def as_double(folder):
    """A program whose mask is in double precision."""
    library = pytest.importorskip("onnx")
    path = as_onnx(folder, PROBABILITY, name="double")
    model, h = library.load(path), library.helper
    model.graph.node.append(h.make_node("Cast", ["single"], ["mask"], to=library.TensorProto.DOUBLE))
    model.graph.node[2].output[0] = "single"
    model.graph.output[1].type.tensor_type.elem_type = library.TensorProto.DOUBLE
    library.save(model, path)
    return path


@pytest.mark.parametrize("lacking", ["build", "library"])
def test_without_a_cuda_provider_by_way_of_the_cpu(tmp_path, log, monkeypatch, lacking):
    if lacking == "build":
        monkeypatch.setattr(runtime, "get_available_providers", lambda: [onnx.CPU])
    monkeypatch.setattr(Session, "providers", [onnx.CPU])
    monkeypatch.setattr(Session, "run", lambda self, *given: self.real.run(*given))
    path = as_onnx(tmp_path, PROBABILITY)
    network = loaded(path)
    assert type(network).__name__ == "OnnxByCpu"
    given = photos(2)
    found = network._channels(given)
    want = onnx.Onnx(path, network.config)
    np.testing.assert_array_equal(found.numpy(), np.concatenate([want(photo[None]) for photo in given.numpy()]))
    assert ("run", OWN) not in log


def test_doctor_says_what_runs_it(tmp_path, monkeypatch):
    row = registry.ModelInfo("mixer", str(as_onnx(tmp_path, PROBABILITY)), "", "")
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [onnx.CPU])
    assert row.served_by("cpu") == "ONNX Runtime"
    assert row.served_by("cuda") == "ONNX Runtime, on the CPU: its build has no CUDA provider (onnxruntime-gpu has)"
    monkeypatch.setattr(runtime, "get_available_providers", lambda: [onnx.CUDA, onnx.CPU])
    assert row.served_by("cuda") == "ONNX Runtime"
