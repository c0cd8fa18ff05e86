"""How long a call on a GPU holds its caller: `python -m benchmarks.host`, which needs torch and no GPU.

Launches are stubbed, and small tensors in this machine's memory stand for a GPU's, so that what is left is the host's
own work: gpublur's Python, and torch's for the mask. CuPy's launches (some microseconds each) come on top, of which one
part is told where CuPy is installed: making C's arguments out of NumPy's. The first table is of whole calls, the second
of what the first of them is made of, from the outside in.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import gpublur
from gpublur import backends, pipeline
from gpublur.api import Editor
from gpublur.backends.cuda import loader, ops, tables
from gpublur.memory import TorchMemory
from gpublur.pipeline import Mask
from gpublur.types import DEFAULT_THRESHOLD, SubjectQuery

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
    arguments: list[Any] | None = None  # of all launches, where they are wanted

    def launch(self, source: str, entry: str, grid: Any, block: Any, args: tuple[Any, ...], *_: Any) -> None:
        self.launches += 1
        if self.arguments is not None:
            self.arguments += args

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
        "gaussian, the module's function": lambda: gpublur.blur_background(
            photo, "gaussian", 0.05, mask=floats, device="cuda"
        ),
    }


def layers(editor: Editor) -> dict[str, Callable[[], Any]]:
    """Return what the gaussian's call is made of; what is indented is part of what stands before it."""
    photo, given = torch.zeros((3, *SIZE), dtype=torch.uint8), torch.zeros(SIZE)
    engine, asked = editor._engine, ("gaussian", 0.05, None, DEFAULT_THRESHOLD, "high", True, True)
    spec, query = engine.blur_spec(*asked), SubjectQuery()
    batch = engine.read(photo, None, whole=True)
    [picture], [mask] = batch.pictures, engine.masks(given, batch)
    return {
        "options": lambda: (engine.blur_spec(*asked), SubjectQuery().checked()),
        "reading the picture": lambda: engine.read(photo, None, whole=True),
        "reading the mask": lambda: engine.masks(given, batch),
        "- torch's clip": lambda: given.clip(0, 1),
        "pipeline.run": lambda: pipeline.run(engine.device, picture, query, engine.load, mask, pipeline.blur, spec),
        "- perform": lambda: ops.perform(ops, pipeline.blur, picture, Mask(mask), spec),
        "- - torch's allocation, of two": lambda: torch.empty((3, *SIZE), dtype=torch.uint8, device=photo.device),
    }


def packed(args: list[Any]) -> float | None:
    """Return the least time, in microseconds, in which CuPy makes C's arguments of NumPy's."""
    try:
        from cupy._core._scalar import CScalar
        from cupy.cuda.function import CNumpyArray
    except ImportError:
        return None
    makers = [(CNumpyArray if isinstance(arg, np.ndarray) else CScalar, arg) for arg in args]
    return microseconds(lambda: [make(arg) for make, arg in makers])[0]


def microseconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the least and the median mean time of a call, over ROUNDS."""
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        for _ in range(CALLS):
            call()
        times.append(1e6 * (time.thread_time() - start) / CALLS)
    return min(times), statistics.median(times)


@contextmanager
def stubbed() -> Iterator[StubbedGpu]:
    """Give a GPU that launches nothing, on which tensors in this machine's memory seem to lie."""
    gpu = StubbedGpu()

    def memory(value: Any) -> HeldMemory | None:
        return HeldMemory(torch, value.device) if isinstance(value, torch.Tensor) else None

    with (
        patch.object(loader, "gpu", lambda: gpu),
        patch.object(loader, "status", lambda: (True, "")),
        patch.object(backends, "_usable", set()),  # what is seen to be usable here is not
        patch.object(tables, "_kept", {}),  # nor is what is uploaded there
        patch("gpublur.arrays.gpu_memory", memory),
    ):
        yield gpu


def main() -> None:
    torch.set_num_threads(1)
    with stubbed() as gpu:
        editor = Editor("cuda")
        head = "| call | us, least | us, median | launches | allocations | arguments, us in CuPy |"
        print(head + "\n|---" + 5 * "|--:" + "|")
        for name, call in jobs(editor).items():
            call()
            gpu.launches, gpu.arguments, HeldMemory.allocated = 0, [], 0
            call()
            counts, args, gpu.arguments = (gpu.launches, HeldMemory.allocated), gpu.arguments, None
            packing = packed(args)
            told = "not installed" if packing is None else f"{packing:.0f}"
            print("| {} | {:.0f} | {:.0f} | {} | {} | {} |".format(name, *microseconds(call), *counts, told))
        print("\n| layer of the gaussian | us, least | us, median |\n|---|--:|--:|")
        for name, call in layers(editor).items():
            print("| {} | {:.1f} | {:.1f} |".format(name, *microseconds(call)))


if __name__ == "__main__":
    main()
