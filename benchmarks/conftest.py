"""What every benchmark shares: the photo, the machine's facts, the truth, and the one way to measure."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))  # for its float64 reference

import gpublur  # noqa: E402
from gpublur import bench  # noqa: E402
from gpublur.checks import MAX_RADIUS  # noqa: E402
from gpublur.types import BlurSpec  # noqa: E402

from . import scene, truth  # noqa: E402
from .scene import Pixels  # noqa: E402

PACKAGES = (
    "numpy", "numba", "torch", "opencv-python-headless", "pillow", "pyvips", "scipy", "scikit-image", "torchvision",
    "kornia", "rembg", "transparent-background",
)  # fmt: skip
ROUNDS = 3, 50  # at least and at most, whatever --seconds allows
LONG = 20  # seconds: a call that takes longer is timed once
SIZES = "2,24,100"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpublur")
    group.addoption("--photo", type=Path, help="a photo of your own in place of the generated scene")
    group.addoption("--megapixels", type=float, default=12, help="size of the scene; a larger photo is shrunk to it")
    group.addoption("--sizes", type=megapixels, default=megapixels(SIZES), help=f"further sizes, by default {SIZES}")
    group.addoption("--seconds", type=float, default=2, help="for how long a benchmark is repeated")
    group.addoption("--slow", type=float, default=2, help="seconds: a peer that takes longer gets no larger radius")
    group.addoption("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every library that has them")
    group.addoption("--device", choices=["cpu", "cuda"], default="cpu", help="where gpublur and torch's peers work")
    group.addoption("--full", action="store_true", help="every radius, quality, type and batch at every size: hours")


def megapixels(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MISSING] = []


MISSING = pytest.StashKey[list[dict[str, str]]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    """Note what was not measured and why: it stands in the JSON, and in the report."""
    report = yield
    if not report.passed:
        why = report.longrepr[2].removeprefix("Skipped: ") if report.skipped else call.excinfo.exconly().splitlines()[0]
        item.config.stash[MISSING].append({"what": item.name.removeprefix("test_"), "why": why})
    return report


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    output_json["missing"] = config.stash[MISSING]
    for one in output_json["benchmarks"]:  # the medians and quartiles say what is wanted of them
        one["stats"].pop("data", None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests that ask for a ``size`` the further sizes, in megapixels."""
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", metafunc.config.getoption("sizes"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("full"):
        grid = [item for item in items if item.name.startswith("test_grid[")]
        config.hook.pytest_deselected(items=grid)
        items[:] = [item for item in items if item not in grid]


@pytest.fixture(scope="session", autouse=True)
def threads(pytestconfig: pytest.Config) -> int:
    """Give every library the same number of threads (Pillow has one, whatever is asked for)."""
    count = pytestconfig.getoption("threads")
    os.environ["VIPS_CONCURRENCY"] = str(count)  # read when pyvips is imported, later
    numba.set_num_threads(count)
    for library, setter in (("cv2", "setNumThreads"), ("torch", "set_num_threads")):
        try:
            module = __import__(library)
        except Exception:
            continue  # its benchmarks skip and say so
        getattr(module, setter)(count)
    return count


class Scene(NamedTuple):
    photo: Pixels
    mask: Pixels

    @property
    def megapixels(self) -> float:
        return self.mask.size / 1e6

    def pixels_of(self, radius: float) -> float:
        """Return a radius as a fraction of the photo's diagonal, in pixels."""
        return radius * math.hypot(*self.mask.shape)


@pytest.fixture(scope="session")
def scene_of(pytestconfig: pytest.Config) -> Callable[[float], Scene]:
    """A photo of so many megapixels, and its subject's mask."""
    path = pytestconfig.getoption("photo")

    @functools.lru_cache(maxsize=2)
    def made(megapixels: float) -> Scene:
        height, width = scene.size_of(megapixels)
        if path is None:
            return Scene(scene.enlarged(height, width), scene.ellipse(height, width))
        image = Image.open(path).convert("RGB")
        shrink = min(math.sqrt(height * width / (image.width * image.height)), 1)
        size = round(image.width * shrink), round(image.height * shrink)
        photo = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
        return Scene(photo, scene.ellipse(*photo.shape[:2]))

    return made


@pytest.fixture(scope="session")
def centre(pytestconfig: pytest.Config, scene_of: Callable[[float], Scene]) -> Scene:
    """The photo of --megapixels: every other case differs from this one in one thing."""
    return scene_of(pytestconfig.getoption("megapixels"))


@pytest.fixture(scope="session")
def editor(pytestconfig: pytest.Config) -> Any:
    return gpublur.Editor(device=pytestconfig.getoption("device"))


@pytest.fixture(scope="session")
def place(pytestconfig: pytest.Config) -> bench.Place:
    """Where pictures are put before the clock runs, and where it waits for results."""
    return bench.place(pytestconfig.getoption("device"))


@pytest.fixture(scope="session")
def road_error(editor: Any, place: bench.Place, centre: Scene) -> Callable[..., truth.Error]:
    """The error of `blur_background` on the centre's crop, blurred by so many pixels, or by .05 of its diagonal."""
    picture, matte = truth.crop(centre.photo), truth.crop(centre.mask)

    @functools.cache
    def wanted(mode: str, radius: float) -> Any:
        return truth.road(picture, matte, BlurSpec(mode, radius).checked())

    def error(mode: str, pixels: float, quality: str = "high", dtype: str = "uint8") -> truth.Error:
        there = min(pixels / math.hypot(*picture.shape[:2]), MAX_RADIUS)
        given, mask = place.put(scene.as_type(picture, dtype)), place.put(matte)
        got = editor.blur_background(given, mode, there, quality=quality, mask=mask)
        return truth.error(place.get(got), wanted(mode, there))

    return error


@pytest.fixture(scope="session")
def facts(threads: int, place: bench.Place) -> dict[str, Any]:
    """Whose figures these are, and the yardstick: a large copy by all threads, in this very run."""
    versions = bench.versions(PACKAGES) | {"libvips": vips()}
    about = {"commit": commit(), "cpu": bench.cpu(), "device": place.name, "on": place.describe(), "threads": threads}
    return about | {"versions": versions, "copy_gb_s": place.copy_bandwidth(threads) / 1e9}


@pytest.fixture
def measure(benchmark: Any, facts: dict[str, Any], place: bench.Place, pytestconfig: pytest.Config) -> Callable:
    """Time a call that has been proved right, and write down what it was; return the median.

    A proof is an error within its bound, or a check that the call's result passes. On a GPU the clock stops when the
    result is there.
    """

    def run(call: Callable[[], Any], *, who: str, job: str, megapixels: float, radius: float | None = None,
            error: truth.Error | None = None, bound: truth.Error | None = None,
            check: Callable[[Any], bool] | None = None, moved: int | None = None, batch: int = 1,
            dtype: str = "uint8", on: bench.Place = place) -> float:  # fmt: skip
        assert (error and bound) or check, "nothing proves this call right"
        assert error is None or bound is None or error.within(bound), f"{error} is beyond {bound}"

        def waited() -> Any:
            result = call()
            on.wait(result)
            return result

        result, took = timed(waited)  # loads, compiles and touches memory
        assert check is None or check(result)
        del result
        rounds = 1
        if took < LONG:
            fit = int(pytestconfig.getoption("seconds") / timed(waited)[1])
            rounds = min(max(fit, ROUNDS[0]), ROUNDS[1])
        benchmark.group = job
        benchmark.pedantic(waited, rounds=rounds)
        median = benchmark.stats.stats.median
        about = {"who": who, "job": job, "radius": radius, "megapixels": megapixels, "batch": batch, "dtype": dtype}
        share = moved and moved / median / 1e9 / facts["copy_gb_s"]
        about |= {"error": error and error._asdict(), "bytes": moved, "of_copy": share}
        benchmark.extra_info |= facts | about
        return median

    def timed(call: Callable[[], Any]) -> tuple[Any, float]:
        start = time.perf_counter()
        return call(), time.perf_counter() - start

    return run


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
