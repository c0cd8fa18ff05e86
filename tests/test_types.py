"""What type checkers see: a user's script is strict, and the type of a result follows from that of an image."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpublur

SOURCES = Path(gpublur.__file__).parents[1]

# What a user would write; each line behind which a type stands is asked for it.
SCRIPT = """
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import gpublur

pixels: NDArray[np.float32] = np.zeros((40, 60, 3), np.float32)
picture = Image.open("photo.jpg")
tensor = torch.zeros(3, 40, 60)
editor = gpublur.Editor("cuda:1", model="cars")
reveal_type(gpublur.blur_background(pixels, "gaussian", "12px", mask=None))  # ndarray[Any, dtype[floating[_32Bit]]]
reveal_type(gpublur.blur_background(picture, radius=0.02))  # ImageFile
reveal_type(editor.remove_background(tensor, "white", device=torch.device("cpu")))  # Tensor
reveal_type(editor.remove_background(b"GIF89a"))  # bytes
reveal_type(gpublur.segment("photo.jpg", refine=False))  # ndarray[Any, dtype[Any]]
reveal_type(gpublur.segment(Path("photo.jpg"), details=True)[1].share)  # float
reveal_type(editor.blur_background([picture], details=True)[1])  # list[MaskInfo]
reveal_type(gpublur.apply(tensor, gpublur.Edit(remove=True), details=True))  # tuple[Tensor, MaskInfo | None]
reveal_type(gpublur.gaussian_blur(gpublur.open("photo.jpg"), quality="exact"))  # Photo
gpublur.save("blurred.jpg", gpublur.bokeh_blur(gpublur.open("photo.jpg"), highlights=0.5), jpeg_quality=90)
"""

MISTAKES = """
import numpy as np

import gpublur

pixels = np.zeros((40, 60, 3), np.uint8)
gpublur.blur_background(42)
gpublur.blur_background(pixels, "box")
gpublur.blur_background(pixels, quality=90)
gpublur.segment(pixels, mask=pixels)
gpublur.remove_background(pixels).frobnicate()
gpublur.Edit(jpeg_quality="high")
"""

# That the operations of both backends fulfil the protocol is what a checker can tell of modules.
BACKENDS = """
from gpublur.backends.base import Backend
from gpublur.backends.cpu import ops as cpu
from gpublur.backends.cuda import ops as cuda

both: list[Backend] = [cpu, cuda]
"""


# torch's own types take mypy minutes to read.
TORCH = """
class device:
    def __init__(self, name: str) -> None: ...

class Tensor:
    @property
    def shape(self) -> tuple[int, ...]: ...

def zeros(*shape: int) -> Tensor: ...
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What mypy says of each script that uses the installed package, by its name."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("user")
    scripts = {
        "script": SCRIPT,
        "mistakes": MISTAKES,
        "backends": BACKENDS,
        "broken": BACKENDS.replace("cuda import ops", "cuda import tables"),
    }
    for name, script in scripts.items():
        (folder / f"{name}.py").write_text(script)
    (folder / "torch.pyi").write_text(TORCH)
    path = "" if SOURCES.name == "site-packages" else f"mypy_path = {SOURCES}\n"  # where mypy looks of itself
    (folder / "mypy.ini").write_text(f"[mypy]\n{path}follow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--cache-dir", str(folder / "cache")]
    run = subprocess.run(
        [*command, *(f"{name}.py" for name in scripts)], check=False, capture_output=True, text=True, cwd=folder
    )
    lines = run.stdout.splitlines()
    return {name: [line for line in lines if line.startswith(f"{name}.py:")] for name in scripts}


def test_a_user_s_script(said):
    wanted = [line.rpartition("  # ")[2] for line in SCRIPT.splitlines() if "reveal_type" in line]
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in said["script"] if "Revealed" in line]
    assert [line for line in said["script"] if ": error:" in line] == []
    assert [short(got) for got in revealed] == wanted


def short(shown):
    """A type as mypy shows it, without its modules."""
    return re.sub(r"\b[a-zA-Z_]+\.", "", shown).replace("ndarray[tuple[Any, ...], ", "ndarray[Any, ")


def test_mistakes_are_seen(said):
    lines = {int(line.split(":")[1]) for line in said["mistakes"] if ": error:" in line}
    assert lines == {i for i, line in enumerate(MISTAKES.splitlines(), 1) if line.startswith("gpublur.")}


def test_both_backends_fulfil_the_protocol(said):
    assert said["backends"] == []
    assert any("Backend" in line for line in said["broken"])
