"""The scripts in examples/ do what they say, each in a process of its own."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import matte
from PIL import Image

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


def test_they_are_short_and_all_tested():
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.is_file():
            assert len(path.read_text(encoding="utf-8").splitlines()) < 40, path.name
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
