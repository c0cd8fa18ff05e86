"""The verbs of a backend, timed where they work: on the road, over all bands, in the caches as the road leaves them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import gpublur
from gpublur import optics
from gpublur.types import BlurSpec

from .scene import Pixels
from .test_road import BOUNDS

RADII = (0.002, 0.01, 0.05)
VERBS = (
    ("matte", "bokeh"),
    ("decimate", "gaussian"),
    ("decimate", "bokeh"),
    ("separable", "gaussian"),
    ("spans", "bokeh"),
    ("composite", "gaussian"),
    ("composite", "bokeh"),
)


class Stopwatch:
    """A backend's verbs, of which one runs a clock while it works."""

    spent = 0.0

    def __init__(self, verbs: Any, verb: str) -> None:
        self._verbs, self._verb = verbs, verb

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._verbs, name)
        return self._timed(function) if name == self._verb else function

    @staticmethod
    def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            Stopwatch.spent += time.perf_counter() - start
            return result

        return timed


def clock() -> float:
    """The time that stopwatches have run: what pytest-benchmark takes for the time of day."""
    return Stopwatch.spent


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize(("verb", "mode"), VERBS)
def test_verb(verb, mode, radius, centre, editor, place, road_error, measure):
    if editor.device != "cpu":
        pytest.skip("a verb on a GPU is its kernels: python -m benchmarks.gpu_check times each")
    timed = gpublur.Editor(device="cpu")
    timed._engine.device = timed._engine.device._replace(backend=Stopwatch(editor.backend, verb))
    before = clock()
    timed.blur_background(centre.photo, mode, radius, mask=centre.mask)
    assert clock() > before, f"{verb} is not on the road of {mode}"
    measure(
        lambda: timed.blur_background(centre.photo, mode, radius, mask=centre.mask),
        who="gpublur high", job=f"{verb} ({mode})", radius=radius, megapixels=centre.megapixels,
        error=road_error(mode, centre.pixels_of(radius)), bound=BOUNDS[mode, "high"],  # of the whole road
        moved=least_bytes(verb, mode, radius, centre.photo, centre.mask),
    )  # fmt: skip


def least_bytes(verb: str, mode: str, radius: float, photo: Pixels, mask: Pixels) -> int | None:
    """What a verb must read and write at least; the matte only samples the photo, and declares nothing."""
    rows, columns = optics.plan(BlurSpec(mode, radius).checked(), *photo.shape[:2]).grid
    cells = rows * columns * 4 * 4  # weighted r, g, b and weight, float32
    return {
        "decimate": photo.nbytes + mask.nbytes + cells,
        "separable": 4 * cells,  # two passes, each reads and writes
        "spans": 4 * cells,
        "composite": 2 * photo.nbytes + mask.nbytes + cells,
    }.get(verb)
