"""The first call in a process of its own: import, first blur (compiled anew, or from Numba's cache), the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

STEPS = ("import gpublur", "first call", "second call")
SCRIPT = """
import time
marks = [time.perf_counter()]
import gpublur
marks.append(time.perf_counter())
import numpy as np
photo, mask = np.zeros((600, 800, 3), np.uint8), np.zeros((600, 800), np.uint8)
editor = gpublur.Editor(device={device!r})
for _ in range(2):
    marks.append(time.perf_counter())
    done = editor.blur_background(photo, mask=mask)
    assert done.shape == photo.shape
    marks.append(time.perf_counter())
print(marks[1] - marks[0], marks[3] - marks[2], marks[5] - marks[4])
"""
SMALL = 0.48  # megapixels

spent = 0.0


def clock() -> float:
    """The time that the step took in all processes so far: what pytest-benchmark takes for the time of day."""
    return spent


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("cache", ["compiled before", "nothing compiled"])
def test_cold(cache, step, place, threads, measure, tmp_path_factory):
    if cache == "nothing compiled" and step != "first call":
        pytest.skip("as in a process that finds its loops compiled")
    kept = tmp_path_factory.mktemp("cache")

    def call():
        global spent  # noqa: PLW0603
        with tempfile.TemporaryDirectory() as fresh:
            folder = fresh if cache == "nothing compiled" else str(kept)
            caches = {"NUMBA_CACHE_DIR": folder, "CUPY_CACHE_DIR": folder, "NUMBA_NUM_THREADS": str(threads)}
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT.format(device=place.name)],
                env=os.environ | caches, capture_output=True, text=True, check=True,
            )  # fmt: skip
        seconds = [float(word) for word in done.stdout.split()]
        spent += seconds[STEPS.index(step)]
        return seconds

    if cache == "compiled before":
        call()
    measure(
        call, who=f"gpublur, {cache}", job=f"cold start: {step}", megapixels=SMALL,
        check=lambda seconds: len(seconds) == len(STEPS),
    )  # fmt: skip
