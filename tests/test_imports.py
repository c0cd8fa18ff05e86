"""What an import costs and brings in, and which module may know which."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpublur

SOURCES = Path(gpublur.__file__).parent

# Imports point down only: each line may know those above it. A package counts as one, whose files may know each other.
LAYERS = (
    "errors",
    "color memory extras demo",
    "checks",
    "outline",
    "types image_io",
    "arrays asked optics matting",
    "backends geometry masks",
    "devices",
    "segmentation contours",
    "pipeline edits",
    "typed engine files",
    "operators",
    "api",
    "dialects batch",
    "server bench options mcp",
    "runs",
    "integrations",
    "cli",
    "__main__",
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}
# Who may import what is not ours; nobody else, and nothing else. `arrays` and `memory` look into sys.modules instead.
HOMES = {
    "numpy": set(RANK),
    "numba": {"backends"},
    "cupy": {"backends/cuda/loader.py"},
    "torch": {
        "segmentation/torch_runtime.py",
        "segmentation/checkpoint.py",
        "segmentation/clipseg.py",
        "segmentation/masks.py",
        "operators",
        "api",  # whether it compiles, where it is loaded already
        "integrations",
    },
    "torchvision": {"integrations/torchvision.py"},
    "gpublur": {"integrations"},
    **{name: {"integrations/ray.py", "integrations/ray_job.py"} for name in ("ray", "pyarrow")},
    "segmentation_models_pytorch": {"segmentation/checkpoint.py"},
    "safetensors": {"segmentation/checkpoint.py"},
    "huggingface_hub": {"segmentation/hub.py"},
    "pooch": {"segmentation/published.py"},
    "array_api_compat": {"segmentation/masks.py", "segmentation/exposure.py"},
    "transformers": {"segmentation/clipseg.py"},
    "onnxruntime": {"segmentation/onnx.py"},
    "PIL": {"arrays", "image_io", "checks", "geometry", "contours", "bench"},
    "imagecodecs": {"image_io"},
    "nvidia": {"backends/cuda/codec.py"},
    "pi_heif": {"image_io"},
    "pillow_heif": {"image_io"},
    "click": {"cli", "options", "runs"},
    "pydantic": {"dialects", "server/settings.py", "mcp.py"},
    "mcp": {"mcp.py"},
    "mcp_types": {"mcp.py"},
    **{name: {"server"} for name in ("fastapi", "starlette", "uvicorn", "httpx", "prometheus_client")},
    **{name: {"server"} for name in ("python_multipart", "pydantic_settings")},
    "matplotlib": {"bench", "cli"},
}


def python(code, **env):
    """Run ``code`` in a fresh interpreter and return what it prints."""
    path = os.pathsep.join([str(SOURCES.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, **env}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def modules(code):
    """The modules that are there after ``code``."""
    return set(python(f"{code}\nimport sys; print(*sys.modules)").split())


def loaded(code):
    """The top-level modules that are there after ``code``."""
    return {name.partition(".")[0] for name in modules(code)}


def test_import_loads_a_little_of_the_standard_library_alone():
    brought = modules("import gpublur") - modules("pass")
    assert {name for name in brought if name.partition(".")[0] not in sys.stdlib_module_names} == {"gpublur"}
    assert len(brought) < 60  # one that reads its metadata would bring 100


def test_import_loads_nothing_heavy():
    assert not loaded("import gpublur") & {"torch", "cupy", "numba", "PIL", "numpy"}


def test_the_public_names_need_no_torch():
    assert not loaded("from gpublur import *; Editor('cpu')") & {"torch", "cupy", "PIL"}


def test_a_blur_with_a_mask_loads_no_torch():
    code = """
import gpublur, numpy as np
picture, mask = np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), bool)
for work in (gpublur.blur_background, gpublur.remove_background):
    work(picture, mask=mask)
"""
    assert not loaded(code) & {"torch", "PIL", "segmentation_models_pytorch"}
    assert "cupy" not in loaded(code.replace("mask=mask", "mask=mask, device='cpu'"))


def test_all_names_resolve():
    for name in gpublur.__all__:
        assert getattr(gpublur, name).__module__.startswith("gpublur.")
        assert name in dir(gpublur)
    with pytest.raises(AttributeError, match="nonsense"):
        gpublur.nonsense  # noqa: B018
    assert "ok" in python("from gpublur import *; blur_background, Editor, GpuBlurError; print('ok')")


def test_segment_stays_the_function():
    code = "import gpublur, gpublur.segmentation, gpublur.cli; print(gpublur.segment.__module__)"
    assert python(code).strip() == "gpublur.api"


def imports(node):
    """Every import below ``node``, wherever it stands, but for those that only type checkers see."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node
    unseen = node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else []
    for child in ast.iter_child_nodes(node):
        if child not in unseen:
            yield from imports(child)


def offences(file, source):
    """Imports of a file (its path below the package) that the house does not allow."""
    parts = Path(file).with_suffix("").parts
    unit = parts[0]
    for node in imports(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            depth = len(parts) - node.level  # 0: of the package itself; 1: of this unit
            if depth > 0:
                continue
            names = [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]
            for name in names:
                if name != "__version__" and RANK.get(name, 99) >= RANK[unit]:
                    yield f"{file}:{node.lineno} knows {name}"
        else:
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names and not {unit, file} & HOMES.get(name, set()):
                    yield f"{file}:{node.lineno} imports {name}"


FILES = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if path.name != "__init__.py")
FILES += sorted(str(path.relative_to(SOURCES)) for path in SOURCES.glob("*/__init__.py"))


@pytest.mark.parametrize("file", FILES)
def test_the_house(file):
    assert not list(offences(file, (SOURCES / file).read_text()))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("arrays.py", "import torch"),
        ("arrays.py", "def f():\n    from torch.nn import Module"),
        ("api.py", "import numba"),
        ("api.py", "if True:\n    import PIL.Image"),
        ("backends/cuda/ops.py", "import cupy"),
        ("backends/cpu/ops.py", "from ...api import Editor"),
        ("backends/cpu/ops.py", "from ... import segmentation"),
        ("optics.py", "from . import arrays"),
        ("types.py", "from .optics import plan"),
        ("pipeline.py", "from gpublur import api"),
        ("image_io.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import cv2"),
    ],
)
def test_the_house_sees_a_stranger(file, source):
    assert len(list(offences(file, source))) == 1


@pytest.mark.parametrize(
    "source",
    ["from ...optics import Plan", "from . import loops", "import numba, math", "if TYPE_CHECKING:\n    import torch"],
)
def test_the_house_lets_friends_in(source):
    assert not list(offences("backends/cpu/ops.py", source))


def test_files_are_short():
    """All but the compiled loops, which are short too."""
    lengths = {file: len((SOURCES / file).read_text().splitlines()) for file in FILES}
    assert {file: length for file, length in lengths.items() if length > 450} == {}


def functions(file):
    return [node.name for node in ast.parse((SOURCES / file).read_text()).body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_backends_have_the_protocol_s_operations_first_and_in_its_order(backend):
    base = ast.parse((SOURCES / "backends/base.py").read_text())
    [protocol] = [node for node in base.body if isinstance(node, ast.ClassDef)]
    operations = [node.name for node in protocol.body if isinstance(node, ast.FunctionDef) and node.name.islower()]
    assert functions(f"backends/{backend}/ops.py")[: len(operations)] == operations
