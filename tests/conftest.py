"""Backends as a parameter, pictures that hurt, and one table of tolerances."""

import os
import time

# Read once, by the threads of torch and Numba. Where others work too, those that spin while they wait cost six times.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import emulated
import emulator
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from gpublur import backends
from gpublur.api import Editor

# `--hypothesis-profile=thorough` looks longer, and elsewhere each time.
NO_HURRY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}
settings.register_profile("brief", max_examples=40, derandomize=True, database=None, **NO_HURRY)
settings.register_profile("thorough", max_examples=1000, **NO_HURRY)
settings.load_profile("brief")


def pytest_configure(config):
    """Keep files in the order of their names: xdist would leave those of few tests, the longest, to the end."""
    config.option.loadscopereorder = False


PATIENCE = 600  # seconds, after which what a test waits for is taken to hang: no measure of any machine

# Largest difference from the float64 reference, in 1/255 before rounding; with highlights 0, and boosted by 0.5.
CONTRACT = {
    ("gaussian", "exact"): (0.1, 0.1),
    ("gaussian", "high"): (0.1, 0.3),
    ("bokeh", "exact"): (0.1, 0.1),
    ("bokeh", "high"): (3.0, np.inf),
}
# Least PSNR in dB, where a bound on single pixels says little (rims of boosted disks) or nothing is promised of them.
LEAST_PSNR = {("bokeh", "high"): (69, 53), ("gaussian", "fast"): (60, 47), ("bokeh", "fast"): (60, 47)}


@pytest.fixture(scope="session", params=["cpu", "emulated", "cuda"])
def backend(request):
    """The name of a backend that can run here; one that cannot is skipped with its reason."""
    name = request.param
    reason = (
        emulator.unusable() if name == "emulated" else {n: "" if ok else why for n, ok, why in backends.reasons()}[name]
    )
    if reason:
        pytest.skip(reason)
    return name


@pytest.fixture(scope="session")
def editor(backend):
    if backend != "emulated":
        yield Editor(device=backend)
        return
    with pytest.MonkeyPatch.context() as patch:
        yield emulated.editor(patch)


def scene(height, width, seed=0):
    """A night: dark gradients and noise, and lamps of one to a few pixels; float32 (H, W, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 0.05 + 0.25 * y / height + 0.1 * np.sin(x / 9.0)
    picture = base[..., None] * np.array([1.0, 0.8, 0.6]) + rng.normal(0, 0.02, (height, width, 3))
    for _ in range(max(1, height * width // 900)):
        r, c, size = rng.integers(0, height), rng.integers(0, width), rng.integers(1, 4)
        picture[r : r + size, c : c + size] = rng.uniform(0.8, 1.0, 3)
    return np.clip(picture, 0, 1).astype(np.float32)


def matte(height, width):
    """A soft-edged ellipse that touches the bottom; float32 (H, W) in [0, 1], with solid 0 and 1."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y - 0.7 * height) / (0.35 * height + 1), (x - 0.45 * width) / (0.2 * width + 1))
    return np.clip((1.1 - distance) / 0.2, 0, 1).astype(np.float32)


def find_ellipse(picture):
    """A model for tests: `matte`, whatever the picture (1, 3, H, W) shows."""
    return matte(*picture.shape[2:])


def until(true, seconds=PATIENCE):
    """Wait for what becomes true, and return it."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.01)
    return value


@pytest.fixture(scope="session")
def torch():
    """For tests that need it, as those whose model is a callable: it is given a tensor."""
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def cupy():
    return pytest.importorskip("cupy")


@pytest.fixture(scope="module")
def one_thread(torch):
    """Threads that wait for each other on a busy machine make small models slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
