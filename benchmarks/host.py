"""How long a call on a GPU holds its caller: `python -m benchmarks.host`, which needs torch and no GPU.

Launches are stubbed, and small tensors in this machine's memory stand for a GPU's, so that what is left is the host's
own work: gpublur's Python, and torch's for the mask. CuPy's launches (some microseconds each) come on top.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import torch

from gpublur.api import Editor
from gpublur.backends.cuda import loader
from gpublur.memory import TorchMemory

SIZE = 60, 80  # of the photo: torch's own work on the mask is to be as little as can be
ROUNDS, CALLS = 100, 20


class HeldMemory(TorchMemory):
    """torch's tensors in this machine's memory, counted."""

    allocated = 0

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        HeldMemory.allocated += 1
        return super().empty(shape, dtype)

    def stream(self) -> int:
        return 0

    def capturing(self) -> bool:
        return False


class StubbedGpu:
    """A `loader.Gpu` that launches nothing."""

    launches = 0

    def launch(self, *_: Any) -> None:
        self.launches += 1

    def on(self, _: int) -> AbstractContextManager[None]:
        return nullcontext()

    def apart(self, after: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def memory(self) -> HeldMemory:
        return HeldMemory(torch, torch.device("cpu"))

    def wait(self) -> None:
        pass

    def describe(self) -> str:
        return "stub"


def jobs(editor: Editor) -> dict[str, Callable[[], Any]]:
    """Return the calls that are timed."""
    photo = torch.zeros((3, *SIZE), dtype=torch.uint8)
    floats, bytes_ = torch.zeros(SIZE), torch.zeros(SIZE, dtype=torch.uint8)
    return {
        "gaussian": lambda: editor.blur_background(photo, "gaussian", 0.05, mask=floats),
        "gaussian, 8-bit mask": lambda: editor.blur_background(photo, "gaussian", 0.05, mask=bytes_),
        "bokeh": lambda: editor.blur_background(photo, "bokeh", 0.05, mask=floats),
        "gaussian, refined": lambda: editor.blur_background(photo, "gaussian", 0.05, mask=floats, refine=True),
        "cut out": lambda: editor.remove_background(photo, mask=floats),
        "no mask": lambda: editor.gaussian_blur(photo, 0.05),
    }


def microseconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the least and the median mean time of a call, over ROUNDS."""
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        for _ in range(CALLS):
            call()
        times.append(1e6 * (time.thread_time() - start) / CALLS)
    return min(times), statistics.median(times)


def main() -> None:
    torch.set_num_threads(1)
    gpu = StubbedGpu()

    def memory(value: Any) -> HeldMemory | None:
        return HeldMemory(torch, value.device) if isinstance(value, torch.Tensor) else None

    with (
        patch.object(loader, "gpu", lambda: gpu),
        patch.object(loader, "status", lambda: (True, "")),
        patch("gpublur.arrays.gpu_memory", memory),
    ):
        print("| call | us, least | us, median | launches | allocations |\n|---|--:|--:|--:|--:|")
        for name, call in jobs(Editor("cuda")).items():
            call()
            gpu.launches, HeldMemory.allocated = 0, 0
            call()
            counts = gpu.launches, HeldMemory.allocated
            print("| {} | {:.0f} | {:.0f} | {} | {} |".format(name, *microseconds(call), *counts))


if __name__ == "__main__":
    main()
