"""The scripts in examples/ do what they say, each in a process of its own."""

import importlib.util
import io
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import matte
from PIL import Image

import gpublur
from gpublur.demo import PHOTO

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = 240, 135


@pytest.fixture
def photo(tmp_path):
    with Image.open(PHOTO) as image:
        image.thumbnail(SIZE)
        image.save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def run(name, *arguments, status=0):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture
def example(monkeypatch):
    """Import an example that others load: it is no program."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return __import__


def code_of(notebook):
    """The code of a notebook's cells."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code")


def test_they_are_short_and_all_tested():
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.is_file():
            lines = code_of(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
            assert len(lines.splitlines()) < 40, path.name
            assert path.stem in tests.partition("def test_they")[2], path.name


def test_blur_folder(photo, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(photo.read_bytes()[:2000])
    (tmp_path / "notes.txt").write_text("no photo")
    result = run("blur_folder.py", tmp_path, tmp_path / "blurred", status=1)
    assert result.stdout == "1 of 2 photos blurred\n"
    assert "broken.jpg" in result.stderr
    assert [path.name for path in (tmp_path / "blurred").iterdir()] == ["photo.jpg"]
    with Image.open(photo) as before, Image.open(tmp_path / "blurred" / "photo.jpg") as after:
        assert after.size == before.size
        assert np.asarray(after).std() != np.asarray(before).std()


def test_torch_batch(photo, tmp_path):
    pytest.importorskip("torch")
    result = run("torch_batch.py", tmp_path / "blurred", photo, photo)
    assert result.stdout.count("% subject") == 2
    with Image.open(tmp_path / "blurred" / "photo.png") as after:
        assert after.size == (640, 480)


def test_fastapi_service(example, photo):
    pytest.importorskip("fastapi")
    client = pytest.importorskip("fastapi.testclient").TestClient(example("fastapi_service").app)
    data = photo.read_bytes()
    answer = client.post("/blur", files={"photo": data}, params={"radius": 0.02})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == Image.open(photo).size
    assert client.post("/blur", files={"photo": b"no photo"}).status_code == 415
    assert client.post("/blur", files={"photo": data}, params={"radius": 1}).status_code == 422


def test_own_model(photo, tmp_path):
    onnx = pytest.importorskip("onnx")
    h, numpy_helper, kind = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    # A network that finds an ellipse, whatever the photo shows.
    ellipse = numpy_helper.from_array(matte(320, 320)[None, None], "ellipse")
    nothing = numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "nothing")
    nodes = [
        h.make_node("Conv", ["photo", "nothing"], ["zeros"]),
        h.make_node("Add", ["zeros", "ellipse"], ["mask"]),
    ]
    ends = [h.make_tensor_value_info("photo", kind, (1, 3, 320, 320))], [h.make_tensor_value_info("mask", kind, None)]
    graph = h.make_graph(nodes, "ellipse", *ends, [ellipse, nothing])
    network = tmp_path / "ellipse.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=10), network)

    result = run("own_model.py", network, photo, tmp_path / "cut.png")
    assert json.loads(network.with_suffix(".json").read_text())["input_size"] == 320
    with Image.open(tmp_path / "cut.png") as cut:
        alpha = np.asarray(cut.getchannel("A")) / 255
        assert cut.size == Image.open(photo).size
    assert abs(alpha - matte(*alpha.shape)).mean() < 0.03
    assert f"{matte(320, 320).mean():.0%} of photo.jpg is subject" in result.stdout


def test_notebook():
    """Its cells run from top to bottom, and it is stored without results."""
    path = EXAMPLES / "notebook.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)
    names = {}
    exec(compile(code_of(path), str(path), "exec"), names)
    assert names["blurred"].size == names["photo"].size
    assert names["cut"].mode == "RGBA"


class Tensor:
    """Triton's, in this machine's memory."""

    def __init__(self, name, values):
        self.name, self.values = name, values

    def is_cpu(self):
        return True

    def as_numpy(self):
        return self.values


def test_triton(monkeypatch):
    """The model by Triton's calls, with a stand-in for its utilities; the configuration names the same tensors."""
    utilities = types.ModuleType("triton_python_backend_utils")
    utilities.Tensor, utilities.TritonError, utilities.InferenceResponse = Tensor, str, types.SimpleNamespace
    utilities.get_input_tensor_by_name = lambda request, name: request.get(name)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    folder = EXAMPLES / "triton" / "gpublur"
    model = types.ModuleType("model")
    exec((folder / "1" / "model.py").read_text(encoding="utf-8"), vars(model))
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    parameters = dict(re.findall(r'key: "(\w+)", value: { string_value: "([^"]+)" }', config))
    written = {"parameters": {name: {"string_value": value} for name, value in parameters.items()}}
    instance = model.TritonPythonModel()
    instance.initialize(
        {"model_config": json.dumps(written), "model_instance_kind": "CPU", "model_instance_device_id": "0"}
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), np.uint8)
    masks = np.stack([(matte(40, 60) * 255).astype(np.uint8)] * 2)
    requests = [
        {"IMAGE": Tensor("IMAGE", images), "MASK": Tensor("MASK", masks)},
        {"IMAGE": Tensor("IMAGE", images), "MASK": Tensor("MASK", masks[:, :0])},
        {"IMAGE": Tensor("IMAGE", images[:1])},
    ]
    done, refused, found = instance.execute(requests)
    [blurred] = done.output_tensors
    expected = gpublur.blur_background(images, parameters["mode"], float(parameters["radius"]), mask=masks)
    np.testing.assert_array_equal(blurred.values, expected)
    assert (refused.output_tensors, "mask" in refused.error) == ([], True)
    assert found.output_tensors[0].values.shape == (1, 40, 60, 3)
    assert re.findall(r'name: "([A-Z]+)"', config) == ["IMAGE", "MASK", blurred.name]
    instance.finalize()


class Gradio(types.ModuleType):
    """A stand-in, whose parts keep what they are made of."""

    Error = RuntimeError

    def __getattr__(self, name):
        return lambda *args, **options: types.SimpleNamespace(kind=name, args=args, **options)


def test_gradio_app(example, photo, monkeypatch):
    if importlib.util.find_spec("gradio") is None:
        monkeypatch.setitem(sys.modules, "gradio", Gradio("gradio"))
    app = example("gradio_app")
    with Image.open(photo) as image:
        for work in ("bokeh", "gaussian", "remove"):
            result, told = app.edit(image, work, 0.02, "")
            assert result.size == image.size
            assert "% of the photo is subject" in told
        assert result.mode == "RGBA"
        with pytest.raises(sys.modules["gradio"].Error, match="lighthouse"):
            app.edit(image, "remove", 0.02, "lighthouse")
    assert app.app.title == "gpublur"
