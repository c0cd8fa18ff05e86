"""The ComfyUI node pack, imported as ComfyUI does, its graph run with stand-ins for the host's nodes."""

import importlib.util
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import matte, scene

import gpublur

torch = pytest.importorskip("torch")

PACK = Path(__file__).parents[1] / "integrations" / "comfyui"
NAME = str(PACK).replace(".", "_x_")  # as the host names it


@pytest.fixture(scope="module")
def pack():
    """The pack as the host's `load_custom_node` makes a module of a folder."""
    spec = importlib.util.spec_from_file_location(NAME, PACK / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    yield module
    for name in (NAME, f"{NAME}.nodes"):
        sys.modules.pop(name, None)


@pytest.fixture
def images():
    return torch.from_numpy(np.stack([scene(48, 64, seed) for seed in (0, 1)]))


class LoadImage:
    """The host's: an image, and a mask of its transparency."""

    FUNCTION = "load"
    images = None

    def load(self, image):
        return self.images, torch.zeros(1, 64, 64)


class SaveImage:
    FUNCTION = "save"
    saved: dict = {}  # noqa: RUF012

    def save(self, images, filename_prefix):
        self.saved[filename_prefix] = images
        return ()


def run(graph, nodes):
    """Run a graph in the API's format, as the host does: each node once, after those that it takes from."""
    outputs = {}

    def output(key):
        if key not in outputs:
            node = nodes[graph[key]["class_type"]]
            given = {
                name: output(value[0])[value[1]] if isinstance(value, list) else value
                for name, value in graph[key]["inputs"].items()
            }
            if hasattr(node, "INPUT_TYPES"):
                asked = node.INPUT_TYPES()
                assert set(given) >= set(asked["required"])
                assert set(given) <= set(asked["required"]) | set(asked["optional"])
            outputs[key] = getattr(node(), node.FUNCTION)(**given)
        return outputs[key]

    for key in graph:
        output(key)


def test_its_graph_makes_the_library_s_pictures(pack, images):
    LoadImage.images = images
    host = {"LoadImage": LoadImage, "SaveImage": SaveImage}
    run(json.loads((PACK / "workflow.json").read_text()), pack.NODE_CLASS_MAPPINGS | host)
    masks = gpublur.segment(images, layout="NHWC")
    blurred = gpublur.blur_background(images, radius=0.03, mask=masks, layout="NHWC")
    assert torch.equal(SaveImage.saved["blurred"], blurred)
    assert torch.equal(SaveImage.saved["cut"], gpublur.remove_background(images, mask=masks, layout="NHWC"))


def test_nodes_say_what_the_host_reads(pack):
    assert set(pack.NODE_DISPLAY_NAME_MAPPINGS) == set(pack.NODE_CLASS_MAPPINGS)
    registry = [model.name for model in gpublur.segmentation.models()]
    for node in pack.NODE_CLASS_MAPPINGS.values():
        asked = node.INPUT_TYPES()["required"]
        assert asked["image"] == ("IMAGE",)
        assert asked["model"][0] == registry
        assert asked["model"][1]["default"] in registry
        assert callable(getattr(node, node.FUNCTION))
        assert isinstance(node.RETURN_TYPES, tuple)
    about = tomllib.loads((PACK / "pyproject.toml").read_text())
    assert about["project"]["version"] == gpublur.__version__
    assert about["tool"]["comfy"]["DisplayName"]


@pytest.mark.parametrize("mode", ["bokeh", "gaussian"])
def test_blur_with_a_mask(pack, images, mode):
    node = pack.NODE_CLASS_MAPPINGS["GpublurBlurBackground"]
    images = torch.rand(2, 48, 64, 3)
    masks = torch.from_numpy(np.stack([matte(48, 64)] * 2))
    for given in (masks, masks[:1]):  # one for each, or one for all
        [blurred] = node().blur(images, mode, 0.02, 0.3, "general", given)
        assert blurred.shape == images.shape
        assert blurred.dtype == images.dtype
        assert blurred[masks == 0].std() < images[masks == 0].std() / 2
        torch.testing.assert_close(blurred[masks == 1], images[masks == 1], atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="3 masks do not go with 2 images"):
        node().blur(images, mode, 0.02, 0.3, "general", torch.rand(3, 48, 64))


def test_without_a_mask_the_model_and_the_word_decide(pack, images):
    nodes = pack.NODE_CLASS_MAPPINGS
    [blurred] = nodes["GpublurBlurBackground"]().blur(images, "gaussian", 0.02, 0.3, "general", prompt="dog")
    expected = gpublur.blur_background(images, "gaussian", 0.02, prompt="dog", layout="NHWC")
    assert torch.equal(blurred, expected)
    [found] = nodes["GpublurSegment"]().segment(images, "general")
    assert found.shape == images.shape[:3]
    [white] = nodes["GpublurRemoveBackground"]().remove(images, "white", "general")
    assert torch.equal(white, gpublur.remove_background(images, "white", layout="NHWC"))
    with pytest.raises(gpublur.ModelUnavailable):
        nodes["GpublurSegment"]().segment(images, "absent")
