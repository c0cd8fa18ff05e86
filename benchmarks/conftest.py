"""What every benchmark shares: the photo, the machine's facts, the truth, and the one way to measure."""

from __future__ import annotations

import functools
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))  # for its float64 reference

import gpublur  # noqa: E402
from gpublur.edit import MAX_RADIUS, BlurSpec  # noqa: E402

from . import scene, truth  # noqa: E402
from .scene import Pixels  # noqa: E402

PACKAGES = {"numpy": "numpy", "numba": "numba", "opencv": "opencv-python-headless", "pillow": "pillow"}
ROUNDS = 3, 50  # at least and at most, whatever --seconds allows
LONG = 60  # seconds: a call that takes longer is timed once


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpublur")
    group.addoption("--photo", type=Path, help="a photo of your own in place of the generated scene")
    group.addoption("--megapixels", type=float, default=12, help="size of the scene; a larger photo is shrunk to it")
    group.addoption("--seconds", type=float, default=3, help="for how long a benchmark is repeated")
    group.addoption("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every library that has them")


@pytest.fixture(scope="session", autouse=True)
def threads(pytestconfig: pytest.Config) -> int:
    """Give every library the same number of threads (Pillow has one, whatever is asked for)."""
    count = pytestconfig.getoption("threads")
    os.environ["VIPS_CONCURRENCY"] = str(count)  # read when pyvips is imported, later
    numba.set_num_threads(count)
    try:
        import cv2
    except ImportError:
        pass  # its benchmarks skip and say so
    else:
        cv2.setNumThreads(count)
    return count


@pytest.fixture(scope="session")
def photo(pytestconfig: pytest.Config) -> Pixels:
    height, width = scene.size_of(pytestconfig.getoption("megapixels"))
    path = pytestconfig.getoption("photo")
    if path is None:
        return scene.scene(height, width)
    image = Image.open(path).convert("RGB")
    shrink = min(math.sqrt(height * width / (image.width * image.height)), 1)
    size = round(image.width * shrink), round(image.height * shrink)
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


@pytest.fixture(scope="session")
def mask(photo: Pixels) -> Pixels:
    return scene.ellipse(*photo.shape[:2])


@pytest.fixture(scope="session")
def small(photo: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    """The crop of photo and mask on which errors are taken."""
    return truth.crop(photo), truth.crop(mask)


@pytest.fixture(scope="session")
def pixels_of(photo: Pixels) -> Callable[[float], float]:
    """A radius as a fraction of the photo's diagonal, in pixels."""
    return lambda radius: radius * math.hypot(*photo.shape[:2])


@pytest.fixture(scope="session")
def editor() -> Any:
    return gpublur.Editor(device="cpu")


@pytest.fixture(scope="session")
def road_error(
    editor: Any, small: tuple[Pixels, Pixels], pixels_of: Callable[[float], float]
) -> Callable[[str, float, str], truth.Error]:
    """The error of `blur_background` on the crop, blurred by as many pixels as the photo, or by .05 of its diagonal."""
    picture, matte = small

    @functools.cache
    def wanted(mode: str, radius: float) -> Any:
        return truth.road(picture, matte, BlurSpec(mode, radius).checked())

    def error(mode: str, radius: float, quality: str) -> truth.Error:
        there = min(pixels_of(radius) / math.hypot(*picture.shape[:2]), MAX_RADIUS)
        got = editor.blur_background(picture, mode, there, quality=quality, mask=matte)
        return truth.error(got, wanted(mode, there))

    return error


@pytest.fixture(scope="session")
def facts(photo: Pixels, threads: int) -> dict[str, Any]:
    """Whose figures these are."""
    versions = {"gpublur": gpublur.__version__} | {name: installed(package) for name, package in PACKAGES.items()}
    versions["libvips"] = vips()
    megapixels = photo.shape[0] * photo.shape[1] / 1e6
    return {"commit": commit(), "cpu": cpu(), "threads": threads, "versions": versions, "megapixels": megapixels}


@pytest.fixture
def measure(benchmark: Any, facts: dict[str, Any], pytestconfig: pytest.Config) -> Callable[..., Any]:
    """Time a call that has been proved right, and write down what it was."""

    def run(call: Callable[[], Any], *, who: str, job: str, radius: float | None = None,
            error: truth.Error | None = None, moved: int | None = None) -> None:  # fmt: skip
        benchmark.group = job
        about = {"who": who, "job": job, "radius": radius, "error": error and error._asdict(), "bytes": moved}
        benchmark.extra_info |= facts | about
        rounds = 1
        if seconds(call) < LONG:  # the first call loads, compiles and touches memory; the second is warm
            fit = int(pytestconfig.getoption("seconds") / seconds(call))
            rounds = min(max(fit, ROUNDS[0]), ROUNDS[1])
        benchmark.pedantic(call, rounds=rounds)

    return run


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def installed(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "none"


def vips() -> str:
    try:
        import pyvips
    except Exception:  # without its shared library: an OSError
        return "none"
    return ".".join(str(pyvips.version(part)) for part in range(3))


def commit() -> str:
    """The state of the source, with "-dirty" where it is not what was committed."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "none"


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
